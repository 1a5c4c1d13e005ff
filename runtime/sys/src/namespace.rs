//! setns(2) and unshare(2) for processes with one thread.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

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

/// The user namespace that owns the namespace which `fd` is a file of, close-on-exec.
///
/// # Errors
/// EPERM when that is neither the caller's nor one below it.
pub fn owner(fd: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: this ioctl takes no argument and touches no memory.
    let owner = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_USERNS) };
    let owner = check(owner.into())?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_owner() {
        let open = |name: &str| std::fs::File::open(format!("/proc/self/ns/{name}")).unwrap();
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        match (owner(open("mnt")), owner(open("net"))) {
            (Ok(mounts), Ok(net)) => assert_eq!(inode(&mounts), inode(&net)),
            // As in a container that did not get all of its namespaces from its own.
            (mounts, net) => assert!([mounts, net].iter().flatten().count() <= 1),
        }
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(owner(file).is_err());
    }
}
