//! Block devices: their size, and a partition's size as the kernel believes it.

#![allow(unsafe_code)]

use crate::syscall::check;
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd};

/// `BLKPG` of linux/blkpg.h: `_IO(0x12, 105)`.
const BLKPG: libc::Ioctl = 0x1269;
/// `BLKPG_RESIZE_PARTITION` of linux/blkpg.h.
const BLKPG_RESIZE_PARTITION: libc::c_int = 3;
/// `BLKGETSIZE64` of linux/fs.h: `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
/// `BLKSSZGET` of linux/fs.h: `_IO(0x12, 104)`.
const BLKSSZGET: libc::Ioctl = 0x1268;

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: libc::c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct Argument {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *mut Partition,
}

const _: () = assert!(size_of::<Partition>() == 152);
const _: () = assert!(std::mem::offset_of!(Partition, number) == 16);
const _: () = assert!(std::mem::offset_of!(Partition, devname) == 20);
const _: () = assert!(size_of::<Argument>() == 24);
const _: () = assert!(std::mem::offset_of!(Argument, data) == 16);

/// Tells the kernel that partition `number` of the whole disk `disk` begins at
/// byte `start` (unchanged) and has `length` bytes now. Works while it is in use.
///
/// # Errors
/// ENXIO when there is no such partition, EBUSY when it would overlap another,
/// EINVAL when the start differs or a value is no multiple of the sector size.
pub fn resize_partition(disk: impl AsFd, number: i32, start: u64, length: u64) -> Result<()> {
    let mut partition = Partition {
        start: i64::try_from(start).map_err(|_| Errno::OVERFLOW)?,
        length: i64::try_from(length).map_err(|_| Errno::OVERFLOW)?,
        number,
        devname: [0; 64],
        volname: [0; 64],
    };
    let argument = Argument {
        op: BLKPG_RESIZE_PARTITION,
        flags: 0,
        datalen: size_of::<Partition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: `argument` and the partition it points to live across the call and
    // have the layout of linux/blkpg.h, checked above.
    let ret = unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG, &raw const argument) };
    check(ret.into()).map(drop)
}

/// The size of a block device in bytes.
///
/// # Errors
/// ENOTTY when it is no block device.
pub fn size_bytes(device: impl AsFd) -> Result<u64> {
    let mut size = 0u64;
    // SAFETY: the kernel writes 64 bits to `size`.
    let ret = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKGETSIZE64, &raw mut size) };
    check(ret.into())?;
    Ok(size)
}

/// The logical sector size of a block device in bytes (512 or 4096).
///
/// # Errors
/// ENOTTY when it is no block device.
pub fn sector_bytes(device: impl AsFd) -> Result<u32> {
    let mut size: libc::c_int = 0;
    // SAFETY: the kernel writes an int to `size`.
    let ret = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKSSZGET, &raw mut size) };
    check(ret.into())?;
    u32::try_from(size).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_no_block_device() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(size_bytes(&file), Err(Errno::NOTTY));
        assert_eq!(sector_bytes(&file), Err(Errno::NOTTY));
        assert_eq!(resize_partition(&file, 1, 0, 4096), Err(Errno::NOTTY));
        assert_eq!(
            resize_partition(&file, 1, u64::MAX, 1),
            Err(Errno::OVERFLOW)
        );
    }
}
