//! seccomp(2): installs a classic BPF program as a filter on system calls.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::syscall::check;

/// One classic BPF instruction, laid out as `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The most instructions a program may have (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// Filters every later system call of this thread and its children, for good. `flags` are
/// `libc::SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// EACCES with neither CAP_SYS_ADMIN nor no-new-privileges; EINVAL for a malformed program
/// or an unknown flag.
pub fn install(program: &[Insn], flags: u32) -> Result<()> {
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        return Err(Errno::INVAL);
    }
    set_filter(program, flags).map(drop)
}

/// As [`install`], with a descriptor on which calls with `SECCOMP_RET_USER_NOTIF` are answered.
/// It is close-on-exec.
///
/// # Errors
/// EBUSY when a filter of this thread has such a descriptor already; else as [`install`].
pub fn install_with_listener(program: &[Insn], flags: u32) -> Result<OwnedFd> {
    let flags = flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    let fd = set_filter(program, flags)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn set_filter(program: &[Insn], flags: u32) -> Result<libc::c_long> {
    if program.is_empty() || program.len() > MAX_INSNS {
        return Err(Errno::INVAL);
    }
    let fprog = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `fprog` and the program live across the call and the kernel only reads them;
    // `Insn` has the layout of `sock_filter` (checked below).
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const fprog,
        )
    };
    check(ret)
}

const _: () = assert!(size_of::<Insn>() == size_of::<libc::sock_filter>());
