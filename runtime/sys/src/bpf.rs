//! bpf(2), as far as cgroup device programs need it: load one, attach it to a cgroup, find and
//! replace it there.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Result;

use crate::syscall::check;

/// One eBPF instruction, laid out as `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub registers: u8,
    /// Signed offset, in instructions or bytes.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// The head of `union bpf_attr` for BPF_PROG_LOAD; later members stay zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The head of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The head of `union bpf_attr` for BPF_PROG_QUERY.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    padding: u32,
}

/// The head of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a cgroup device program.
///
/// # Errors
/// EPERM without CAP_BPF or CAP_SYS_ADMIN, EACCES or EINVAL when the verifier refuses it,
/// E2BIG when it is too long.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: `attr` and everything it points to live across the call, sizes are as given,
    // and the kernel only reads them.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attr,
            size_of::<LoadAttr>(),
        )
    };
    let fd = check(ret)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a device program to a cgroup v2 directory, beside those its ancestors have. It
/// stays until the cgroup is removed.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN and CAP_BPF, EBADF when `cgroup` is not a cgroup v2 directory.
pub fn attach_device_program(cgroup: impl AsFd, program: &OwnedFd) -> Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    attach_or_detach(BPF_PROG_ATTACH, &attr)
}

/// Puts `new` in the place of `old`, at once.
///
/// # Errors
/// ENOENT when `old` is not attached to this cgroup, EPERM and EBADF as for attaching.
pub fn replace_device_program(cgroup: impl AsFd, old: &OwnedFd, new: &OwnedFd) -> Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_bpf_fd: new.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | BPF_F_REPLACE,
        replace_bpf_fd: old.as_raw_fd() as u32,
    };
    attach_or_detach(BPF_PROG_ATTACH, &attr)
}

/// Takes a program away again.
///
/// # Errors
/// ENOENT when it is not attached to this cgroup, EPERM and EBADF as for attaching.
pub fn detach_device_program(cgroup: impl AsFd, program: &OwnedFd) -> Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    attach_or_detach(BPF_PROG_DETACH, &attr)
}

fn attach_or_detach(command: libc::c_long, attr: &AttachAttr) -> Result<()> {
    // SAFETY: `attr` lives across the call and its size is given.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<AttachAttr>(),
        )
    };
    check(ret).map(drop)
}

/// The device programs that are attached to this cgroup itself.
///
/// # Errors
/// ENOSPC when there are more than 64, EPERM without CAP_SYS_ADMIN and CAP_NET_ADMIN, EBADF
/// when `cgroup` is not a cgroup v2 directory.
pub fn device_programs(cgroup: impl AsFd) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_fd().as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_count: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: `attr` and `ids` live across the call; the kernel writes the members of the
    // first and at most `prog_count` elements of the second.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut attr,
            size_of::<QueryAttr>(),
        )
    };
    check(ret)?;
    let count = (attr.prog_count as usize).min(ids.len());
    ids[..count].iter().map(|&id| program_by_id(id)).collect()
}

fn program_by_id(prog_id: u32) -> Result<OwnedFd> {
    let attr = IdAttr {
        prog_id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: `attr` lives across the call and its size is given.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_FD_BY_ID,
            &raw const attr,
            size_of::<IdAttr>(),
        )
    };
    let fd = check(ret)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
