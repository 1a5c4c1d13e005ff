//! mount_setattr(2), and the two shapes of the mount API that every caller uses:
//! clone a tree onto a descriptor, put a descriptor's mount on a target descriptor.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Result;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::syscall::check;

/// Propagation of a mount: none, from the other side only, both ways, none and not bindable.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// See [`PRIVATE`].
pub const SLAVE: u64 = libc::MS_SLAVE;
/// See [`PRIVATE`].
pub const SHARED: u64 = libc::MS_SHARED;
/// See [`PRIVATE`].
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// What [`set_attributes`] changes. Flags are `libc::MOUNT_ATTR_*`.
#[derive(Debug, Default, Clone, Copy)]
pub struct Attributes<'fd> {
    /// Flags to set.
    pub set: u64,
    /// Flags to clear.
    pub clear: u64,
    /// [`PRIVATE`], [`SLAVE`], [`SHARED`], [`UNBINDABLE`], or 0 to leave as it is.
    pub propagation: u64,
    /// The user namespace whose mapping the mount gets (`MOUNT_ATTR_IDMAP`). The mount must
    /// be detached, its file system must allow it, and the caller needs CAP_SYS_ADMIN in the
    /// user namespace that owns the superblock.
    pub idmap: Option<BorrowedFd<'fd>>,
}

/// Changes the attributes of the mount that `dir` and `path` lead to, without following a
/// link in the last component; with an empty path, of the mount `dir` itself is on.
/// `recursive` includes every mount below it: all of them change, or none.
///
/// # Errors
/// The errno of mount_setattr(2): EINVAL for a file system without id mapping, EPERM without
/// CAP_SYS_ADMIN or for a flag that is locked, ENOSYS before Linux 5.12.
pub fn set_attributes(
    dir: impl AsFd,
    path: &CStr,
    recursive: bool,
    attributes: Attributes<'_>,
) -> Result<()> {
    let raw = libc::mount_attr {
        attr_set: attributes.set | attributes.idmap.map_or(0, |_| libc::MOUNT_ATTR_IDMAP),
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: attributes.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH
        | libc::AT_SYMLINK_NOFOLLOW
        | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated, `raw` lives across the call and its size is given;
    // the kernel only reads both.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const raw,
            size_of::<libc::mount_attr>(),
        )
    };
    check(ret).map(drop)
}

/// A detached clone of the mount at `path` (relative to `dir`; empty for `dir` itself), with
/// every mount below it when `recursive`. It goes away with the descriptor unless attached.
///
/// # Errors
/// The errno of open_tree(2).
pub fn clone_tree(
    dir: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags)
}

/// Attaches the detached mount `tree` on what `target` (an `O_PATH` descriptor) refers to.
/// No path is looked up, so nothing can be swapped in between. Afterwards `tree` refers to
/// the root of the attached mount.
///
/// # Errors
/// The errno of move_mount(2); EINVAL when one is a directory and the other is not.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    rustix::mount::move_mount(
        tree,
        c"",
        target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}
