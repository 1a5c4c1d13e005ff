//! Signals as something to read: blocked, and delivered through a descriptor.

#![allow(unsafe_code)]

use crate::syscall::check;
use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks `signals` for the calling thread and gives a non-blocking,
/// close-on-exec descriptor that they are read from. Call it before any other
/// thread exists, or those threads still take the signals.
///
/// # Errors
/// EINVAL for a number that is no signal, EMFILE.
pub fn open(signals: &[i32]) -> Result<OwnedFd> {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid and writable.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: `set` is initialised; the number is checked by the call.
        check(unsafe { libc::sigaddset(&raw mut set, signal) }.into())?;
    }
    // SAFETY: `set` is initialised; no old set is asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if error != 0 {
        return Err(Errno::from_raw_os_error(error));
    }
    // SAFETY: -1 asks for a new descriptor; `set` is initialised.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the child of `command` begin with no signal blocked. Without this it has
/// what its parent's thread blocks, through every exec: a SIGTERM would wait for
/// ever in a program that knows nothing of it.
pub fn unblock_in(command: &mut Command) {
    // SAFETY: the closure runs in the child between fork and exec, and does nothing there but
    // two calls that are async-signal-safe, with a set on the stack.
    unsafe {
        command.pre_exec(|| {
            crate::signal::unblock();
            Ok(())
        });
    }
}

/// The next waiting signal's number, `None` when none waits.
///
/// # Errors
/// Those of read(2).
pub fn next(fd: &OwnedFd) -> Result<Option<i32>> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0u8; SIZE];
    loop {
        // SAFETY: `bytes` is writable and its size is given.
        let got = unsafe { libc::read(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), SIZE) };
        match check(got as libc::c_long) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok(_) => {
                // ssi_signo is the first member, 32 bits.
                let [a, b, c, d, ..] = bytes;
                return Ok(Some(i32::from_ne_bytes([a, b, c, d])));
            }
        }
    }
}

/// Sends `signal` to every process but the caller and PID 1 (`kill(-1, …)`).
/// From a PID namespace, to every one of that namespace. Says whether there was any.
///
/// # Errors
/// EINVAL for a number that is no signal, EPERM.
pub fn kill_all(signal: i32) -> Result<bool> {
    // SAFETY: kill takes no pointer.
    match check(unsafe { libc::kill(-1, signal) }.into()) {
        Ok(_) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_as_its_number() {
        let fd = open(&[libc::SIGUSR2]).unwrap();
        assert_eq!(next(&fd).unwrap(), None);
        // SAFETY: a signal to this very thread, which has it blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
        assert_eq!(next(&fd).unwrap(), Some(libc::SIGUSR2));
        assert_eq!(next(&fd).unwrap(), None);
        assert!(open(&[4096]).is_err());
    }

    #[test]
    fn a_child_begins_with_no_signal_blocked() {
        let _fd = open(&[libc::SIGUSR2, libc::SIGTERM]).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "grep SigBlk /proc/self/status"]);
        unblock_in(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.stdout, b"SigBlk:\t0000000000000000\n");
    }
}
