//! Ending, or signalling, all that lives in a cgroup and below it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{EMPTY_WITHIN, describe, processes, timespec};

const SIGKILL: i32 = 9;

/// What tells one cgroup from another that is made at its path later.
pub(crate) fn identity(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.ino())
}

/// Kills everything in the cgroup and below it. One that is gone has nothing to kill.
pub(crate) fn kill(path: &Path) -> Result<()> {
    // Opened, not made, where it is not there.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let written = rustix::fs::open(path.join("cgroup.kill"), flags, Mode::empty())
        .and_then(|file| rustix::io::write(&file, b"1"));
    match written {
        Ok(_) => Ok(()),
        Err(Errno::NOENT | Errno::NODEV) if identity(path).is_none() => Ok(()),
        // Linux before 5.14.
        Err(Errno::NOENT) => kill_each(path),
        Err(errno) => Err(anyhow::Error::from(errno).context(format!("kill {}", describe(path)))),
    }
}

/// Again and again, because what is not killed yet makes others.
fn kill_each(path: &Path) -> Result<()> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    while signal(path, SIGKILL)? > 0 {
        ensure!(
            Instant::now() < deadline,
            "not all processes of {} end, {} s after SIGKILL",
            describe(path),
            EMPTY_WITHIN.as_secs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Sends a signal to every process of the cgroup and below it, and says how many there were.
pub(crate) fn signal(path: &Path, signal: i32) -> Result<usize> {
    let pidfds: Vec<_> = processes(path)?
        .into_iter()
        .map(|pid| Ok(open(pid, path)?.map(|pidfd| (pid, pidfd))))
        .collect::<Result<_>>()?;
    // Its number may have been another's before the pidfd was there, but not after.
    let members = processes(path)?;
    let mut reached = 0;
    for (pid, pidfd) in pidfds.into_iter().flatten() {
        if members.binary_search(&pid).is_err() || ends_within(&pidfd, Duration::ZERO)? {
            continue;
        }
        match orlop_sys::signal::send(&pidfd, signal) {
            Ok(()) => reached += 1,
            Err(Errno::SRCH) => {}
            Err(errno) => {
                let what = format!("signal process {pid} of {}", describe(path));
                return Err(anyhow::Error::from(errno).context(what));
            }
        }
    }
    Ok(reached)
}

/// `None` when it has ended meanwhile.
fn open(pid: i32, path: &Path) -> Result<Option<OwnedFd>> {
    let pid = Pid::from_raw(pid).with_context(|| {
        format!(
            "a process of {} is in a pid namespace that cannot be seen from here, so it gets no \
             signal",
            describe(path)
        )
    })?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => Err(anyhow::Error::from(errno).context("pidfd_open")),
    }
}

/// Whether the process ends within that time. A zombie has.
pub(crate) fn ends_within(pidfd: &OwnedFd, time: Duration) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let time = timespec(time);
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// A directory with a list of processes in place of a cgroup of an old kernel.
    #[test]
    fn without_its_file_they_are_killed_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..3)
            .map(|_| Command::new("sleep").arg("1000").spawn().unwrap())
            .collect();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let list = |at: &str, children: &[std::process::Child]| {
            let lines: Vec<_> = children.iter().map(|c| c.id().to_string()).collect();
            std::fs::write(dir.path().join(at), lines.join("\n")).unwrap();
        };
        list("cgroup.procs", &children[..2]);
        list("sub/cgroup.procs", &children[2..]);
        assert_eq!(signal(dir.path(), 18).unwrap(), 3);
        kill(dir.path()).unwrap();
        assert!(!dir.path().join("cgroup.kill").exists());
        // They have ended, and are listed still.
        let ends: Vec<_> = children.iter_mut().map(|c| c.try_wait().unwrap()).collect();
        for child in &mut children {
            child.kill().and_then(|()| child.wait()).unwrap();
        }
        let by = |end: &Option<std::process::ExitStatus>| end.and_then(|end| end.signal());
        assert!(ends.iter().all(|end| by(end) == Some(9)), "{ends:?}");
        kill(&dir.path().join("gone")).unwrap();
        std::fs::write(dir.path().join("cgroup.procs"), "0\n").unwrap();
        let error = kill(dir.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be seen"), "{error}");
    }

    #[test]
    fn with_its_file_the_kernel_does_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.kill"), "").unwrap();
        kill(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("cgroup.kill")).unwrap(), b"1");
    }
}
