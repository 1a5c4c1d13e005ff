//! The last steps: leave the disks clean, then reset or switch off.

use crate::console::Console;
use crate::files;
use orlop_handover::ShutdownMode;
use orlop_sys::watchdog::Watchdog;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::system::{RebootCommand, reboot};
use std::thread::sleep;
use std::time::Duration;

/// How long the reason for giving up stays readable.
const PAUSE: Duration = Duration::from_secs(10);

/// A boot that cannot go on: says why, waits, and starts over (I1).
pub(crate) fn give_up(console: &Console, error: &anyhow::Error) -> ! {
    // The console that failed may have been opened before /dev was there.
    let _ = console;
    let console = Console::open();
    console.say(&format!("cannot boot: {error:#}"));
    console.say(&format!("restarting in {} s", PAUSE.as_secs()));
    sleep(PAUSE);
    finish(&console, ShutdownMode::Reboot, None)
}

/// Unmounts what is on the disks and lets the machine go. The watchdog stays
/// armed over a reboot, so that a reset which hangs is a reset all the same.
pub(crate) fn finish(console: &Console, mode: ShutdownMode, watchdog: Option<Watchdog>) -> ! {
    rustix::fs::sync();
    for target in lasting(&files::read("/proc/self/mountinfo").unwrap_or_default()) {
        if let Err(errno) = rustix::mount::unmount(target.as_str(), UnmountFlags::empty()) {
            let readonly = rustix::mount::mount_remount(target.as_str(), MountFlags::RDONLY, c"");
            console.say(&match readonly {
                Ok(()) => format!("{target} is in use ({errno}): left read-only"),
                Err(other) => format!("{target} is in use ({errno}) and stays writable ({other})"),
            });
        }
    }
    rustix::fs::sync();
    let command = match mode {
        ShutdownMode::Reboot => RebootCommand::Restart,
        ShutdownMode::PowerOff => {
            if let Some(watchdog) = watchdog {
                watchdog.disarm();
            }
            RebootCommand::PowerOff
        }
    };
    console.say(match mode {
        ShutdownMode::Reboot => "restarting",
        ShutdownMode::PowerOff => "switching off",
    });
    loop {
        if let Err(errno) = reboot(command) {
            console.say(&format!("the kernel does not let go: {errno}"));
        }
        sleep(PAUSE);
    }
}

/// The mounts that must go, the last made first.
fn lasting(mountinfo: &str) -> Vec<String> {
    let below = |target: &str, top: &str| {
        target
            .strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut targets: Vec<_> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|target| {
            ["/state", "/var", "/etc/orlop"]
                .iter()
                .any(|top| below(target, top))
        })
        .map(|target| target.replace("\\040", " "))
        .collect();
    targets.reverse();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_go_before_what_they_are_of() {
        let mountinfo = "\
20 1 253:0 / / ro - erofs /dev/dm-0 ro
21 20 0:5 / /dev rw - devtmpfs devtmpfs rw
30 20 254:6 / /state rw - ext4 /dev/vda6 rw
31 20 254:6 /etc/orlop /etc/orlop rw - ext4 /dev/vda6 rw
32 20 254:6 /var /var rw - ext4 /dev/vda6 rw
33 32 0:40 / /var/lib/a\\040b rw - overlay overlay rw
34 20 0:41 / /variable rw - tmpfs tmpfs rw
";
        assert_eq!(
            lasting(mountinfo),
            ["/var/lib/a b", "/var", "/etc/orlop", "/state"]
        );
    }
}
