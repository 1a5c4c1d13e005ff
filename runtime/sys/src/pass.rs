//! Which descriptors a child gets: one that no other child does, or none at all.

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

/// Lets the child of `command` inherit nothing but its standard streams, whatever this process
/// got from its own caller without close-on-exec.
pub fn nothing_on(command: &mut Command) {
    // SAFETY: as above: one close_range(2), in the child, which closes nothing yet.
    unsafe {
        command.pre_exec(|| Ok(crate::fd::close_on_exec_from(3)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::fcntl_dupfd_cloexec;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_child_with_nothing_has_its_streams_alone() {
        // Above what a program opens by itself.
        let file = fcntl_dupfd_cloexec(tempfile::tempfile().unwrap(), 70).unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let number = file.as_raw_fd().to_string();
        let open = |alone: bool| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "exec ls /proc/self/fd"]);
            if alone {
                nothing_on(&mut command);
            }
            let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
            said.lines().any(|line| line == number)
        };
        assert!(open(false));
        assert!(!open(true));
    }
}
