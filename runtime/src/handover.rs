//! Handing a descriptor to whoever listens on a Unix socket: a seccomp listener to its agent, a
//! pidfd of a new process to who asked for one by `--pidfd-socket`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

/// How long the other side may take to accept a connection or to read.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Sends `fd` with `text` to the socket at `at`, over a connection made for it.
pub(crate) fn hand_over(at: &Path, text: &[u8], fd: &OwnedFd) -> rustix::io::Result<()> {
    let address = SocketAddrUnix::new(at)?;
    let kind = SocketType::STREAM;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(READY_WITHIN))?;
    rustix::io::retry_on_intr(|| connect(&socket, &address))?;
    send(&socket, text, fd)
}

/// The descriptor goes with the first bytes.
fn send(socket: &OwnedFd, text: &[u8], fd: &OwnedFd) -> rustix::io::Result<()> {
    let mut left = text;
    while !left.is_empty() {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if left.len() == text.len() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let slices = [IoSlice::new(left)];
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        left = &left[sent..];
    }
    Ok(())
}
