//! The power button: ACPI's, or a keyboard's key.
//!
//! The kernel shows a button as an input device and a press as an event of 24
//! bytes; numbers by its linux/input-event-codes.h.

use crate::files;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;

/// The most devices listened to.
const MAX_DEVICES: usize = 16;
/// The most events read of a device in one turn.
const MAX_A_TURN: usize = 64;

/// Every device that has a power key; at first none.
#[derive(Debug, Default)]
pub(super) struct Buttons {
    devices: Vec<OwnedFd>,
}

impl Buttons {
    /// Those that `class` (/sys/class/input) knows and `dev` (/dev/input) has.
    /// What is plugged in once all drivers are loaded is not heard.
    pub(super) fn find(class: &Path, dev: &Path) -> Self {
        let open = |entry: std::fs::DirEntry| {
            let keys = files::read(entry.path().join("device/capabilities/key")).ok()?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let device = dev.join(entry.file_name());
            has_power_key(&keys)
                .then(|| rustix::fs::open(device, flags, Mode::empty()).ok())
                .flatten()
        };
        let entries = std::fs::read_dir(class).into_iter().flatten().flatten();
        Self {
            devices: entries.filter_map(open).take(MAX_DEVICES).collect(),
        }
    }

    /// Whether one has been pressed since the last call.
    pub(super) fn pressed(&mut self) -> bool {
        let mut pressed = false;
        self.devices.retain(|device| {
            let mut bytes = [0; EVENT_BYTES * MAX_A_TURN];
            match rustix::io::read(device, &mut bytes) {
                // Neither an end nor a failure ends by itself: listening on would never sleep.
                Ok(0) => false,
                Ok(count) => {
                    pressed |= bytes[..count].chunks_exact(EVENT_BYTES).any(is_press);
                    true
                }
                Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
            }
        });
        pressed
    }

    /// What to wait for.
    pub(super) fn devices(&self) -> impl Iterator<Item = &OwnedFd> {
        self.devices.iter()
    }
}

/// Whether the bit of the power key is set in sysfs' map of keys: words of 64
/// bits in hexadecimal, the highest first.
fn has_power_key(map: &str) -> bool {
    let word = map
        .split_ascii_whitespace()
        .rev()
        .nth(usize::from(KEY_POWER / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (KEY_POWER % 64) & 1 == 1)
}

fn is_press(event: &[u8]) -> bool {
    let [.., k0, k1, c0, c1, v0, v1, v2, v3] = *event else {
        return false;
    };
    u16::from_ne_bytes([k0, k1]) == EV_KEY
        && u16::from_ne_bytes([c0, c1]) == KEY_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == PRESSED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![0; 16];
        event.extend(kind.to_ne_bytes());
        event.extend(code.to_ne_bytes());
        event.extend(value.to_ne_bytes());
        event
    }

    #[test]
    fn only_devices_with_the_key_are_opened() {
        for (map, want) in [
            // ACPI's button, a sleep button, a keyboard, and no map at all.
            ("10000000000000 0\n", true),
            ("4000 0 0\n", false),
            (
                "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n",
                true,
            ),
            ("fffffffffffffffe\n", false),
            ("zz 0\n", false),
            ("", false),
        ] {
            assert_eq!(has_power_key(map), want, "{map}");
            let dir = tempfile::tempdir().unwrap();
            let keys = dir.path().join("class/event3/device/capabilities");
            std::fs::create_dir_all(&keys).unwrap();
            std::fs::write(keys.join("key"), map).unwrap();
            std::fs::write(dir.path().join("event3"), "").unwrap();
            let found = Buttons::find(&dir.path().join("class"), dir.path());
            assert_eq!(found.devices.len(), usize::from(want), "{map}");
        }
        assert!(
            Buttons::find(Path::new("/none"), Path::new("/none"))
                .devices
                .is_empty()
        );
    }

    #[test]
    fn a_press_is_heard_once_and_a_device_that_is_gone_no_longer() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut buttons = Buttons {
            devices: vec![reader],
        };
        assert!(!buttons.pressed());
        for (events, want) in [
            (vec![event(EV_KEY, KEY_POWER, 1), event(0, 0, 0)], true),
            (vec![event(EV_KEY, KEY_POWER, 0), event(0, 0, 0)], false),
            (vec![event(EV_KEY, KEY_POWER, 2)], false),
            (vec![event(EV_KEY, 30, 1), event(4, KEY_POWER, 1)], false),
            (vec![vec![1; 5]], false),
        ] {
            rustix::io::write(&writer, &events.concat()).unwrap();
            assert_eq!(buttons.pressed(), want, "{events:?}");
            assert!(!buttons.pressed(), "heard twice: {events:?}");
        }
        assert_eq!(buttons.devices().count(), 1);
        drop(writer);
        assert!(!buttons.pressed());
        assert_eq!(buttons.devices().count(), 0);
    }
}
