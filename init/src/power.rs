//! The last steps: leave the disks clean, then reset or switch off.

use crate::console::Console;
use crate::files;
use crate::guard::Guard;
use orlop_handover::ShutdownMode;
use orlop_sys::watchdog::Watchdog;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::system::{RebootCommand, reboot};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// How long the reason for giving up stays readable.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the disks have for what is not written yet: a memory full of it and
/// a slow card.
const LEAVE: Duration = Duration::from_secs(300);
/// How often the watchdog is fed meanwhile.
const FEED: Duration = Duration::from_secs(5);
/// How long the watchdog waits over a reset, in seconds: some go on counting, and
/// the firmware of a server takes minutes. Not every device can wait the longest.
const OVER_RESET_S: [u32; 3] = [600, 300, 120];
/// How long the devices have to let go of a machine that restarts.
const LET_GO: Duration = Duration::from_secs(120);

/// A boot that cannot go on: says why, waits, and starts over (I1). Meanwhile the
/// `guard` feeds the watchdog.
pub(crate) fn give_up(error: &anyhow::Error, guard: Option<Guard>) -> ! {
    let console = Console::open();
    console.say(&format!("cannot boot: {error:#}"));
    console.say(&format!("restarting in {} s", PAUSE.as_secs()));
    sleep(PAUSE);
    finish(&console, ShutdownMode::Reboot, guard.and_then(Guard::over))
}

/// Resets the machine without waiting for any of its devices (kernel document
/// admin-guide/sysrq). Nothing is written any more.
///
/// # Errors
/// No /proc.
pub(crate) fn reset() -> io::Result<()> {
    files::set("/proc/sysrq-trigger", "b")
}

/// Unmounts what is on the disks and lets the machine go. The watchdog stays
/// armed over a reboot, so that a reset which hangs is a reset all the same.
pub(crate) fn finish(console: &Console, mode: ShutdownMode, watchdog: Option<Watchdog>) -> ! {
    let feed = || {
        if let Some(Err(errno)) = watchdog.as_ref().map(Watchdog::feed) {
            console.say(&format!("feeding the watchdog: {errno}"));
        }
    };
    match while_feeding(|| leave_disks(&Console::open()), feed, LEAVE, FEED) {
        Ok(true) => {}
        Ok(false) => console.say("the disks take too long: going down without them"),
        Err(error) => {
            console.say(&format!("no thread to feed the watchdog by: {error}"));
            leave_disks(console);
        }
    }
    let command = match mode {
        ShutdownMode::Reboot => {
            // One that cannot wait longer waits for as long as it did.
            let longer = |watchdog: &Watchdog| {
                let mut waits = OVER_RESET_S.iter();
                waits.any(|seconds| watchdog.set_timeout_s(*seconds).is_ok())
            };
            let _ = watchdog.as_ref().map(longer);
            // Without a thread it is left to the watchdog.
            let _ = thread::Builder::new().spawn(|| {
                sleep(LET_GO);
                reset()
            });
            RebootCommand::Restart
        }
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
    console.last_words();
    loop {
        if let Err(errno) = reboot(command) {
            console.say(&format!("the kernel does not let go: {errno}"));
        }
        sleep(PAUSE);
    }
}

/// Runs `work`, which the kernel may hold up, on a thread of its own, and calls
/// `feed` every so often meanwhile; whether it was done within `limit`.
fn while_feeding(
    work: impl FnOnce() + Send + 'static,
    feed: impl Fn(),
    limit: Duration,
    every: Duration,
) -> io::Result<bool> {
    let (done, outcome) = mpsc::channel();
    let until = Instant::now() + limit;
    thread::Builder::new().spawn(move || {
        work();
        // Nobody listens when it took too long.
        let _ = done.send(());
    })?;
    loop {
        feed();
        let left = until.saturating_duration_since(Instant::now());
        match outcome.recv_timeout(every.min(left)) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Writes what is to be written, and unmounts.
fn leave_disks(console: &Console) {
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
    console.last_words();
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

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_watchdog_is_fed_while_the_disks_are_slow() {
        let (fed, feedings) = mpsc::channel();
        let slow = move || {
            for _ in 0..4 {
                feedings.recv().unwrap();
            }
        };
        let feed = || {
            // More may be fed than the work counts.
            let _ = fed.send(());
        };
        assert!(while_feeding(slow, feed, LONG, Duration::from_millis(1)).unwrap());
    }

    #[test]
    fn disks_that_never_answer_are_left_behind() {
        let (keep, never) = mpsc::channel::<()>();
        let stuck = move || {
            let _ = never.recv();
        };
        assert!(!while_feeding(stuck, || {}, Duration::from_millis(20), LONG).unwrap());
        drop(keep);
    }

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
