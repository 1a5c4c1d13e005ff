//! A descriptor that one child gets, and no other that is started at the same time.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

/// Lets the child of `command` inherit `fd` under its own number. The descriptor stays
/// close-on-exec in this process, so that no child of another thread gets it too; it is
/// closed here when `command` is dropped.
pub fn pass_on(command: &mut Command, fd: OwnedFd) {
    // SAFETY: the closure runs in the child between fork and exec. It makes one fcntl(2)
    // system call, which is async-signal-safe, and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || {
            fcntl_setfd(&fd, FdFlags::empty())?;
            Ok(())
        });
    }
}
