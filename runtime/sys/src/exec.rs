//! execve(2) with everything prepared before: the call itself allocates nothing.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::io::Errno;

use crate::syscall::check;

/// A program with its arguments and environment, as execve takes them.
#[derive(Debug)]
pub struct Program {
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Keeps `args` (the name of the program first) and `env` (`NAME=value`).
    #[must_use]
    pub fn new(args: Vec<CString>, env: Vec<CString>) -> Program {
        Program { args, env }
    }

    /// Replaces the process by the program at `path`. Returns only if that failed.
    #[must_use]
    pub fn exec(&self, path: &CStr) -> Errno {
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        // SAFETY: both arrays end with a null pointer, all strings with NUL, and all of them
        // live as long as the process stays what it is.
        let ret = unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
        check(ret.into()).err().unwrap_or(Errno::IO)
    }

    /// As [`Program::exec`], the program being the file that `fd` refers to.
    #[must_use]
    pub fn exec_fd(&self, fd: impl AsFd) -> Errno {
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        // SAFETY: as in `exec`; the empty path is NUL-terminated.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                fd.as_fd().as_raw_fd(),
                c"".as_ptr(),
                args.as_ptr(),
                env.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        check(ret).err().unwrap_or(Errno::IO)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}
