//! Growing a mounted ext4.

#![allow(unsafe_code)]

use crate::syscall::check;
use rustix::io::Result;
use std::os::fd::{AsFd, AsRawFd};

/// `EXT4_IOC_RESIZE_FS` of linux/ext4.h: `_IOW('f', 16, __u64)`.
const EXT4_IOC_RESIZE_FS: libc::Ioctl = 0x4008_6610;

/// Grows the ext4 that `file` is on to `blocks` of its own blocks. Needs
/// CAP_SYS_RESOURCE. A cut in between leaves it at a size it had on the way.
///
/// # Errors
/// ENOTTY when it is no ext4, EINVAL when it would shrink, EPERM, EBUSY when a
/// resize runs, EROFS.
pub fn grow(file: impl AsFd, blocks: u64) -> Result<()> {
    // SAFETY: the kernel reads 64 bits from `blocks`, which lives across the call.
    let ret = unsafe {
        libc::ioctl(
            file.as_fd().as_raw_fd(),
            EXT4_IOC_RESIZE_FS,
            &raw const blocks,
        )
    };
    check(ret.into()).map(drop)
}
