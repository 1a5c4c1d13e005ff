//! keyctl(2): the keys that a session has.

#![allow(unsafe_code)]

use std::ptr;

use rustix::io::Result;

use crate::syscall::check;

/// Gives the process a new session keyring with nothing in it, instead of its parent's.
///
/// # Errors
/// ENOSYS where the kernel has no keys; EDQUOT when the user has too many.
pub fn new_session() -> Result<()> {
    let name: *const libc::c_char = ptr::null();
    // SAFETY: without a name no memory is read; only this process's keyring changes.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
    check(ret).map(drop)
}
