//! Which watchdog the machine has, and arming it.

use crate::console::Console;
use crate::{command_line, files, modules};
use orlop_sys::watchdog::Watchdog;
use std::path::{Path, PathBuf};

/// How long the device waits for food when the command line has no
/// `orlop.watchdog=SECONDS`.
const TIMEOUT_S: u32 = 30;
const SOFTWARE: &str = "Software Watchdog";

/// An armed device and what `status` calls it.
pub(crate) struct Armed {
    pub(crate) device: Watchdog,
    pub(crate) kind: String,
}

/// Arms the machine's own watchdog, or the kernel's timer where it has none.
pub(crate) fn arm(console: &Console) -> Option<Armed> {
    let class = Path::new("/sys/class/watchdog");
    let open = |found: &[(PathBuf, String)]| {
        found
            .iter()
            .find_map(|(path, identity)| Some((Watchdog::open(path).ok()?, identity.clone())))
    };
    let mut opened = open(&devices(class, false));
    if opened.is_none() {
        if let Err(error) = modules::load(Path::new(modules::DIRECTORY), modules::SOFTDOG) {
            console.say(&format!("module {}: {error}", modules::SOFTDOG));
        }
        opened = open(&devices(class, true));
    }
    let Some((device, identity)) = opened else {
        console.say("no watchdog: a machine that hangs stays hung");
        return None;
    };
    let timeout_s = timeout(&files::read("/proc/cmdline").unwrap_or_default());
    if let Err(errno) = device.set_timeout_s(timeout_s) {
        console.say(&format!(
            "watchdog {identity}: it does not take {timeout_s} s: {errno}"
        ));
    }
    let kind = if identity == SOFTWARE {
        "softdog".into()
    } else {
        format!("hardware:{identity}")
    };
    Some(Armed { device, kind })
}

/// The devices with their identities, of software or of hardware, in order.
fn devices(class: &Path, software: bool) -> Vec<(PathBuf, String)> {
    let mut found: Vec<_> = std::fs::read_dir(class)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let identity = files::read_trimmed(entry.path().join("identity"));
            (Path::new("/dev").join(entry.file_name()), identity)
        })
        .filter(|(_, identity)| (identity == SOFTWARE) == software)
        .collect();
    found.sort();
    found
}

/// `orlop.watchdog=SECONDS`, 10 to 600.
fn timeout(command_line: &str) -> u32 {
    command_line::value(command_line, "orlop.watchdog")
        .and_then(|text| text.parse().ok())
        .map_or(TIMEOUT_S, |s: u32| s.clamp(10, 600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_and_software_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (name, identity) in [
            ("watchdog1", "i6300ESB timer\n"),
            ("watchdog0", "Software Watchdog\n"),
        ] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("identity"), identity).unwrap();
        }
        assert_eq!(
            devices(dir.path(), false),
            [("/dev/watchdog1".into(), "i6300ESB timer".into())]
        );
        assert_eq!(
            devices(dir.path(), true),
            [("/dev/watchdog0".into(), SOFTWARE.into())]
        );
        assert!(devices(Path::new("/nonexistent"), true).is_empty());
    }

    #[test]
    fn the_timeout_is_bounded() {
        for (line, want) in [
            ("", 30),
            ("a orlop.watchdog=60 b", 60),
            ("orlop.watchdog=1", 10),
            ("orlop.watchdog=x", 30),
        ] {
            assert_eq!(timeout(line), want, "{line}");
        }
    }
}
