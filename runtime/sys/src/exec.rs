//! execve(2) with everything prepared before, the arrays of pointers too: to execute a program
//! is that one system call, with no allocation before it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::io::Errno;

use crate::syscall::check;

/// A program with its arguments and environment, as execve takes them.
#[derive(Debug)]
pub struct Program {
    args: Strings,
    env: Strings,
}

/// Strings, and the array that execve takes of them. None is ever changed, and what a
/// `CString` points to stays where it is when that is moved.
#[derive(Debug)]
struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Program {
    /// Keeps `args` (the name of the program first) and `env` (`NAME=value`).
    #[must_use]
    pub fn new(args: Vec<CString>, env: Vec<CString>) -> Program {
        Program {
            args: Strings::new(args),
            env: Strings::new(env),
        }
    }

    /// Adds `NAME=value` to the environment.
    pub fn add_variable(&mut self, variable: CString) {
        self.env.push(variable);
    }

    /// Replaces the process by the program at `path`. Returns only if that failed.
    #[must_use]
    pub fn exec(&self, path: &CStr) -> Errno {
        let (args, env) = (self.args.as_ptr(), self.env.as_ptr());
        // SAFETY: both arrays end with a null pointer, all strings with NUL, and `self` has all
        // of them for as long as the process stays what it is.
        let ret = unsafe { libc::execve(path.as_ptr(), args, env) };
        check(ret.into()).err().unwrap_or(Errno::IO)
    }

    /// As [`Program::exec`], the program being the file that `fd` refers to.
    #[must_use]
    pub fn exec_fd(&self, fd: impl AsFd) -> Errno {
        let (args, env) = (self.args.as_ptr(), self.env.as_ptr());
        // SAFETY: as in `exec`; the empty path is NUL-terminated.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                fd.as_fd().as_raw_fd(),
                c"".as_ptr(),
                args,
                env,
                libc::AT_EMPTY_PATH,
            )
        };
        check(ret).err().unwrap_or(Errno::IO)
    }
}

impl Strings {
    fn new(owned: Vec<CString>) -> Strings {
        let pointers = owned.iter().map(|string| string.as_ptr());
        Strings {
            pointers: pointers.chain([ptr::null()]).collect(),
            owned,
        }
    }

    fn push(&mut self, string: CString) {
        // In place of the null pointer at the end.
        self.pointers.pop();
        self.pointers.extend([string.as_ptr(), ptr::null()]);
        self.owned.push(string);
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}
