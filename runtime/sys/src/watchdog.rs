//! The watchdog device: once open it resets the machine unless it is fed.

#![allow(unsafe_code)]

use crate::syscall::check;
use rustix::fs::{Mode, OFlags};
use rustix::io::Result;
use std::os::fd::{AsRawFd, OwnedFd};

/// `WDIOC_KEEPALIVE` of linux/watchdog.h: `_IOR('W', 5, int)`.
const WDIOC_KEEPALIVE: libc::Ioctl = 0x8004_5705;
/// `WDIOC_SETTIMEOUT` of linux/watchdog.h: `_IOWR('W', 6, int)`.
const WDIOC_SETTIMEOUT: libc::Ioctl = 0xC004_5706;

/// An armed watchdog. Dropping it leaves it armed: only [`Watchdog::disarm`]
/// and a driver without "no way out" let the machine live on.
#[derive(Debug)]
pub struct Watchdog {
    device: OwnedFd,
}

impl Watchdog {
    /// Opens and thereby arms the device at `path`.
    ///
    /// # Errors
    /// ENOENT or ENODEV when there is none, EBUSY when another holds it.
    pub fn open(path: &std::path::Path) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(Self {
            device: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Sets how long the device waits for food, and returns what it chose.
    ///
    /// # Errors
    /// EINVAL when the device cannot wait as long, EOPNOTSUPP when it is fixed.
    pub fn set_timeout_s(&self, seconds: u32) -> Result<u32> {
        let mut value = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
        // SAFETY: the kernel reads and writes an int at `value`.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut value) };
        check(ret.into())?;
        Ok(u32::try_from(value).unwrap_or(seconds))
    }

    /// Feeds it.
    ///
    /// # Errors
    /// EIO when the device is broken.
    pub fn feed(&self) -> Result<()> {
        let zero: libc::c_int = 0;
        // SAFETY: the driver ignores the argument; it is valid memory all the same.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), WDIOC_KEEPALIVE, &raw const zero) };
        check(ret.into()).map(drop)
    }

    /// Closes it in the way that says "on purpose" (the magic `V`).
    pub fn disarm(self) {
        let _ = rustix::io::write(&self.device, b"V");
    }
}
