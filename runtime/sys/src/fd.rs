//! close_range(2): no descriptor gets anywhere by accident.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::io::Result;

use crate::syscall::check;

/// Closes every descriptor from `first` on, but for those in `keep`.
///
/// For the first act of a process, and for the child of a clone that takes over a few of its
/// parent's descriptors: whatever else owns a descriptor must not use it afterwards (it would
/// get EBADF, or another file once the number is used again).
///
/// # Errors
/// EINVAL for a negative number.
pub fn close_all_but(first: RawFd, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut next = u32::try_from(first).map_err(|_| rustix::io::Errno::INVAL)?;
    for fd in keep {
        if fd > next {
            close_range(next, fd - 1, 0)?;
        }
        next = next.max(fd + 1);
    }
    close_range(next, u32::MAX, 0)
}

/// Whether something is open under this number.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// EINVAL for a negative number.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    let first = u32::try_from(first).map_err(|_| rustix::io::Errno::INVAL)?;
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Makes `to` (one of 0, 1, 2) refer to what `fd` refers to.
///
/// # Errors
/// The errno of dup3(2); EINVAL when `to` is none of the three.
pub fn replace_stdio(fd: impl AsFd, to: RawFd) -> Result<()> {
    if !(0..=2).contains(&to) {
        return Err(rustix::io::Errno::INVAL);
    }
    // SAFETY: integers only; the three standard descriptors are owned by nobody.
    check(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), to) }.into()).map(drop)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    // SAFETY: integers only. That no owner uses a closed descriptor again is what the
    // callers' documentation asks for.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}
