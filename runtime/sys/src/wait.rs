//! Waiting for one process by its pidfd: no signals, no process group, no other child.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

use crate::syscall::check;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status, 0 to 255.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl Ended {
    /// The exit status a shell would report: the status itself, or 128 and the signal.
    #[must_use]
    pub fn shell_status(self) -> i32 {
        match self {
            Ended::Exited(status) => status,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// Waits until the child that `pidfd` refers to has ended, and reaps it. Children made
/// without an exit signal are waited for too.
///
/// # Errors
/// ECHILD when the process is not a child of the caller.
pub fn reap(pidfd: impl AsFd) -> Result<Ended> {
    let fd = pidfd.as_fd().as_raw_fd();
    loop {
        // SAFETY: siginfo_t is plain data, for which all-zero bytes are a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable for the whole call; the other arguments are integers.
        let ret = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                fd as u32,
                &raw mut info,
                libc::WEXITED | libc::__WALL,
            )
        };
        match check(ret.into()) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => {
                // SAFETY: waitid filled in the SIGCHLD member of the union.
                let status = unsafe { info.si_status() };
                return Ok(match info.si_code {
                    libc::CLD_EXITED => Ended::Exited(status),
                    _ => Ended::Killed(status),
                });
            }
        }
    }
}
