//! Device mapper: one read-only device with one target.
//!
//! Three ioctls on `/dev/mapper/control` make it: create, load the table,
//! resume. This module knows the wire of linux/dm-ioctl.h; what a target's
//! parameters mean is for the caller.

#![allow(unsafe_code)]

use crate::syscall::check;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsRawFd, OwnedFd};

/// `struct dm_ioctl` of linux/dm-ioctl.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec` of linux/dm-ioctl.h; the parameters follow it.
#[repr(C)]
#[derive(Clone, Copy)]
struct TargetSpec {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 312);
const _: () = assert!(std::mem::offset_of!(Header, dev) == 40);
const _: () = assert!(std::mem::offset_of!(Header, name) == 48);
const _: () = assert!(std::mem::offset_of!(Header, uuid) == 176);
const _: () = assert!(size_of::<TargetSpec>() == 40);
const _: () = assert!(std::mem::offset_of!(TargetSpec, target_type) == 24);

/// Room for the parameters of one target, in bytes.
const MAX_PARAMETERS: usize = 2048;

/// A header with its target behind it, as the kernel copies it in and out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    header: Header,
    target: TargetSpec,
    parameters: [u8; MAX_PARAMETERS],
}

const _: () = assert!(std::mem::offset_of!(Request, target) == 312);
const _: () = assert!(std::mem::offset_of!(Request, parameters) == 352);

/// `_IOWR(0xfd, N, struct dm_ioctl)`, whose size is 312.
const fn command(number: libc::Ioctl) -> libc::Ioctl {
    0xC138_FD00 | number
}
const DM_DEV_CREATE: libc::Ioctl = command(3);
const DM_DEV_REMOVE: libc::Ioctl = command(4);
const DM_DEV_SUSPEND: libc::Ioctl = command(6);
const DM_TABLE_LOAD: libc::Ioctl = command(9);

const DM_READONLY_FLAG: u32 = 1;

/// One target that covers the whole device.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its kind, `verity` for one; at most 15 bytes.
    pub kind: &'a str,
    /// The device's length in sectors of 512 bytes.
    pub sectors: u64,
    /// What the kind's documentation says.
    pub parameters: &'a str,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver's.
    pub major: u32,
    /// The device's; the node is `/dev/dm-MINOR`.
    pub minor: u32,
}

/// The control device.
#[derive(Debug)]
pub struct Control {
    device: OwnedFd,
}

impl Control {
    /// Opens `/dev/mapper/control`.
    ///
    /// # Errors
    /// ENOENT or ENODEV when the kernel has no device mapper (yet).
    pub fn open() -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self {
            device: rustix::fs::open("/dev/mapper/control", flags, Mode::empty())?,
        })
    }

    /// Makes the read-only device `name` with one target; all or nothing.
    ///
    /// # Errors
    /// EBUSY when the name is taken, EINVAL when the target refuses its
    /// parameters (the kernel's log says why), ENAMETOOLONG.
    pub fn create(&self, name: &str, target: Target<'_>) -> Result<DeviceNumber> {
        let mut request = request(name, None)?;
        self.call(DM_DEV_CREATE, &mut request)?;
        let dev = request.header.dev;
        let loaded = self
            .load(name, target)
            .and_then(|()| self.call(DM_DEV_SUSPEND, &mut self::request(name, None)?));
        if let Err(errno) = loaded {
            let _ = self.remove(name);
            return Err(errno);
        }
        Ok(split(dev))
    }

    /// Removes the device `name`.
    ///
    /// # Errors
    /// ENXIO when there is none, EBUSY when it is in use.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.call(DM_DEV_REMOVE, &mut request(name, None)?)
    }

    fn load(&self, name: &str, target: Target<'_>) -> Result<()> {
        let mut request = request(name, Some(target))?;
        request.header.flags = DM_READONLY_FLAG;
        self.call(DM_TABLE_LOAD, &mut request)
    }

    fn call(&self, command: libc::Ioctl, request: &mut Request) -> Result<()> {
        // SAFETY: `request` starts with a dm_ioctl whose data_size is the size of
        // the whole, so the kernel reads and writes only within it.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), command, &raw mut *request) };
        check(ret.into()).map(drop)
    }
}

/// A request about the device `name`, with a table of one target if there is one.
fn request(name: &str, target: Option<Target<'_>>) -> Result<Request> {
    let mut request = Request {
        header: Header {
            version: [4, 0, 0],
            data_size: size_of::<Request>() as u32,
            data_start: size_of::<Header>() as u32,
            target_count: 0,
            open_count: 0,
            flags: 0,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
        },
        target: TargetSpec {
            sector_start: 0,
            length: 0,
            status: 0,
            next: 0,
            target_type: [0; 16],
        },
        parameters: [0; MAX_PARAMETERS],
    };
    put(&mut request.header.name, name)?;
    if let Some(target) = target {
        request.header.target_count = 1;
        request.target.length = target.sectors;
        request.target.next = (size_of::<TargetSpec>() + MAX_PARAMETERS) as u32;
        put(&mut request.target.target_type, target.kind)?;
        put(&mut request.parameters, target.parameters)?;
    }
    Ok(request)
}

/// Copies `text` to the start of a zeroed field, leaving at least one zero.
fn put(field: &mut [u8], text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Errno::INVAL);
    }
    if text.len() >= field.len() {
        return Err(Errno::NAMETOOLONG);
    }
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

/// Splits the kernel's "huge" encoding of a device number.
fn split(dev: u64) -> DeviceNumber {
    let major = (dev >> 8) & 0xfff;
    let minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
    DeviceNumber {
        major: major as u32,
        minor: minor as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_laid_out_as_the_kernel_reads_it() {
        let target = Target {
            kind: "verity",
            sectors: 8,
            parameters: "1 a b",
        };
        let request = request("root", Some(target)).unwrap();
        assert_eq!(&request.header.name[..5], b"root\0");
        assert_eq!(&request.target.target_type[..7], b"verity\0");
        assert_eq!(&request.parameters[..6], b"1 a b\0");
        assert_eq!(request.header.data_start, 312);
        assert_eq!(request.header.data_size as usize, size_of::<Request>());
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(request(&"n".repeat(127), None).is_ok());
        assert_eq!(
            request(&"n".repeat(128), None).err(),
            Some(Errno::NAMETOOLONG)
        );
        assert_eq!(request("a\0b", None).err(), Some(Errno::INVAL));
        let long = "p".repeat(MAX_PARAMETERS);
        let target = Target {
            kind: "verity",
            sectors: 8,
            parameters: &long,
        };
        assert_eq!(
            request("root", Some(target)).err(),
            Some(Errno::NAMETOOLONG)
        );
    }

    #[test]
    fn device_numbers_are_split_as_the_kernel_packs_them() {
        // new_encode_dev(MKDEV(254, 300)) by linux/kdev_t.h.
        let packed = (300 & 0xff) | (254 << 8) | ((300 & !0xff_u64) << 12);
        assert_eq!(
            split(packed),
            DeviceNumber {
                major: 254,
                minor: 300
            }
        );
    }
}
