//! Descriptors that a process is born with.
//!
//! A parent leaves a descriptor open across exec and names its number in the
//! environment. This module turns such a number into an owned descriptor; it
//! knows nothing of what the descriptor is for.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Duplicates the inherited descriptor `number` (3 or above) and marks both it
/// and the original close-on-exec.
///
/// The original number stays open for the life of this process, so that no
/// other owner of that number can be surprised by its being closed.
///
/// # Errors
/// `InvalidInput` for a standard stream or a negative number, `EBADF` when
/// nothing is open there, `EMFILE` when no number is free.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {number} is not an inherited one: expected 3 or above"),
        ));
    }
    // SAFETY: fcntl with these commands takes no pointer, and the kernel checks
    // the descriptor number itself.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; setting close-on-exec takes nothing from another owner.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_copy_is_another_number_and_closed_on_exec() {
        let file = tempfile::tempfile().unwrap();
        let copy = duplicate(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        for fd in [copy.as_raw_fd(), file.as_raw_fd()] {
            // SAFETY: F_GETFD takes no pointer.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn standard_streams_and_closed_numbers_are_refused() {
        for number in [-1, 0, 1, 2, 999_999] {
            assert!(duplicate(number).is_err(), "{number}");
        }
    }
}
