//! Seeing which child has ended without reaping it yet.
//!
//! rustix can reap, but its answer to a `WNOWAIT` peek does not say which child
//! it speaks of; a reaper that wants to read the zombie's start time first has
//! to know that.

#![allow(unsafe_code)]

use crate::wait::Ended;
use rustix::io::{Errno, Result};

/// Which children [`peek`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Any child.
    Any,
    /// The child with this pid (above 0).
    Pid(i32),
}

/// Looks for an ended child and leaves it as the zombie it is. `None` when no
/// such child has ended, or there is no such child.
///
/// # Errors
/// Only those that mean a broken call (`EINVAL`).
pub fn peek(which: Which) -> Result<Option<(i32, Ended)>> {
    wait(which, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Reaps the child `pid` if it has ended; `None` when it has not, or is no child.
///
/// # Errors
/// As [`peek`].
pub fn reap(pid: i32) -> Result<Option<(i32, Ended)>> {
    wait(Which::Pid(pid), libc::WEXITED | libc::WNOHANG)
}

/// Whether the caller has any child, living or ended.
///
/// # Errors
/// As [`peek`].
pub fn any() -> Result<bool> {
    loop {
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: waitid accepts a null pointer for what is not asked for.
        let ret = unsafe { libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), options) };
        match crate::syscall::check(ret.into()) {
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
}

fn wait(which: Which, options: libc::c_int) -> Result<Option<(i32, Ended)>> {
    let (kind, id) = match which {
        Which::Any => (libc::P_ALL, 0),
        Which::Pid(pid) => (libc::P_PID, u32::try_from(pid).map_err(|_| Errno::INVAL)?),
    };
    loop {
        // SAFETY: siginfo_t is plain data, for which all-zero bytes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable for the whole call; the rest are integers.
        let ret = unsafe { libc::waitid(kind, id, &raw mut info, options) };
        match crate::syscall::check(ret.into()) {
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok(_) => {
                // SAFETY: waitid filled in the SIGCHLD member, or left it all zero.
                let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
                if pid == 0 {
                    return Ok(None);
                }
                let ended = match info.si_code {
                    libc::CLD_EXITED => Ended::Exited(status),
                    _ => Ended::Killed(status),
                };
                return Ok(Some((pid, ended)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn ended(pid: i32) -> Ended {
        let start = Instant::now();
        loop {
            if let Some((found, ended)) = peek(Which::Pid(pid)).unwrap() {
                assert_eq!(found, pid);
                return ended;
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    #[allow(clippy::zombie_processes)] // reaped by the function under test
    fn a_peek_leaves_the_zombie_and_a_reap_takes_it() {
        for (script, want) in [
            ("exit 7", Ended::Exited(7)),
            ("kill -9 $$", Ended::Killed(9)),
        ] {
            let child = Command::new("/bin/sh")
                .args(["-c", script])
                .spawn()
                .unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            assert_eq!(ended(pid), want);
            assert!(std::path::Path::new(&format!("/proc/{pid}/stat")).exists());
            assert_eq!(reap(pid).unwrap(), Some((pid, want)));
            assert_eq!(reap(pid).unwrap(), None);
        }
    }

    #[test]
    fn a_living_child_and_a_stranger_are_not_ended() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(peek(Which::Pid(pid)).unwrap(), None);
        assert_eq!(any(), Ok(true));
        assert_eq!(peek(Which::Pid(1)).unwrap(), None);
        assert_eq!(peek(Which::Pid(-3)), Err(Errno::INVAL));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
