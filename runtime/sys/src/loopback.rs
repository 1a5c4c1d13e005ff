//! Brings `lo` up in the caller's network namespace, with two ioctls instead of netlink.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::syscall::check;

/// Sets IFF_UP on the loopback device; it gets its addresses by itself.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over the network namespace.
pub fn up() -> Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data, for which all-zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    let pointer = &raw mut request;
    // SAFETY: `request` is writable across the call and has the size the kernel expects.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, pointer) }.into())?;
    // SAFETY: SIOCGIFFLAGS has just filled in this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    let pointer = &raw mut request;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, pointer) }.into()).map(drop)
}
