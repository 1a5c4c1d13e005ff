//! clone3(2) in the manner of fork: the child gets a copy of the memory and runs a closure.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

use crate::syscall::check;

/// What a new process shares with its parent, and where it starts.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs<'fd> {
    /// `libc::CLONE_NEW*` flags, no others.
    pub namespaces: u64,
    /// The cgroup v2 directory that the process starts in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// Makes it a child of the caller's parent instead of the caller (`CLONE_PARENT`).
    pub sibling: bool,
}

/// A process made by [`spawn`].
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP` of linux/sched.h; libc gives it a type that is too narrow.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWCGROUP) as u64;

/// Starts a process that runs `child` on a copy of the caller's memory and exits with the
/// status it returns. Values that the parent holds are not dropped in the child: descriptors
/// stay open there until closed by number.
///
/// The caller must have one thread only, because a lock held by another would stay locked
/// for ever in the child; this is checked, which is what makes the function safe.
///
/// # Errors
/// EBUSY when the process has several threads; EINVAL for a flag that is not a namespace;
/// the errno of clone3(2) otherwise (EBUSY also means that processes may not live in that
/// cgroup).
pub fn spawn(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    if args.namespaces & !NAMESPACES != 0 {
        return Err(Errno::INVAL);
    }
    single_threaded()?;
    let (flags, exit_signal) = match args.sibling {
        false => (args.namespaces, libc::SIGCHLD as u64),
        // The signal is that of the caller itself then, and may not be given.
        true => (args.namespaces | libc::CLONE_PARENT as u64, 0),
    };
    match clone3(flags, exit_signal, args.cgroup)? {
        None => {
            let status = child();
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        Some(child) => Ok(child),
    }
}

/// Asks the kernel to have the process's threads apart, which is nothing to do where there is
/// one, and refused where there are more. /proc would tell, too, but need not be the host's.
fn single_threaded() -> Result<()> {
    // SAFETY: an integer; with this flag alone nothing is unshared.
    match check(unsafe { libc::unshare(libc::CLONE_THREAD) }.into()) {
        Ok(_) => Ok(()),
        Err(Errno::INVAL) => Err(Errno::BUSY),
        Err(errno) => Err(errno),
    }
}

/// A child that is ready for [`kill_and_reap`], in the given namespaces, doing nothing; it
/// dies with the thread that made it, and holds none of the process's descriptors: were it
/// to outlive a killed process, a socket of that one would stay bound. Safe from a process
/// with threads: between the clone and its death the child only makes system calls and
/// touches no memory but its own stack.
pub(crate) fn sleeper(namespaces: u64) -> Result<Child> {
    let parent = libc::c_long::from(rustix::process::getpid().as_raw_pid());
    // No exit signal: a SIGCHLD handler or a wait for any child must not see it.
    match clone3(namespaces, 0, None)? {
        Some(child) => Ok(child),
        None => loop {
            // SAFETY: plain system calls without pointers, on the child's own copy of memory.
            unsafe {
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                libc::syscall(
                    libc::SYS_prctl,
                    libc::PR_SET_PDEATHSIG,
                    libc::SIGKILL,
                    0,
                    0,
                    0,
                );
                // The parent may have died before the signal was asked for.
                if libc::syscall(libc::SYS_getppid) != parent {
                    libc::_exit(0);
                }
                libc::syscall(libc::SYS_pause);
            }
        },
    }
}

/// Kills `child` with SIGKILL and waits for its end.
///
/// # Errors
/// ECHILD when it was waited for already.
pub fn kill_and_reap(child: &Child) -> Result<crate::wait::Ended> {
    match rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL) {
        // It had ended by itself.
        Ok(()) | Err(Errno::SRCH) => crate::wait::reap(&child.pidfd),
        Err(errno) => Err(errno),
    }
}

/// `None` in the child.
fn clone3(flags: u64, exit_signal: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let mut flags = flags | libc::CLONE_PIDFD as u64;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: no CLONE_VM and no stack, so the child continues here on a copy of this stack,
    // as after fork; `args` and `pidfd` live across the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    };
    let pid = check(ret)?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child {
        pid: pid as i32,
        pidfd,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let made = spawn(CloneArgs::default(), || 0);
        drop(stop);
        assert!(other.join().unwrap().is_err());
        assert_eq!(made.err(), Some(Errno::BUSY));
    }
}
