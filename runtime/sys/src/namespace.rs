//! setns(2) and unshare(2) for processes with one thread.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

use crate::syscall::check;

/// Moves the process into new namespaces of the kinds in `flags` (`libc::CLONE_NEW*`).
///
/// # Errors
/// EINVAL for a flag that is no namespace (so that memory, descriptors and file system state
/// are never unshared, which is what would be unsafe); otherwise the errno of unshare(2).
pub fn unshare(flags: libc::c_int) -> Result<()> {
    let allowed = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWTIME
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    if flags & !allowed != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: an integer; only namespaces change.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Joins namespaces: the one that `fd` is a namespace file of (`flags` then names its kind,
/// so that a file of another kind is refused), or, for a pidfd, all kinds in `flags` of that
/// process, together or not at all.
///
/// # Errors
/// EINVAL for a wrong kind, or the user namespace the caller is in already; EPERM without
/// the capabilities in both namespaces; ESRCH when the process has ended.
pub fn join(fd: impl AsFd, flags: libc::c_int) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags) }.into()).map(drop)
}
