//! One end of the socket pair.
//!
//! An end knows by its type which words it says and which it hears, so neither
//! side can send the other's. It blocks or not as its descriptor is set.

use crate::message::{Bad, Checked, FromInit, ToInit};
use crate::{FD_VARIABLE, MAX_FDS, MAX_MESSAGE_BYTES};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// PID 1's end.
pub type InitEnd = Link<FromInit, ToInit>;
/// The manager's end.
pub type ManagerEnd = Link<ToInit, FromInit>;

/// An end that sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Link<Out, In> {
    socket: OwnedFd,
    words: PhantomData<fn(Out) -> In>,
}

/// Why a message did not get through.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing to receive, or no room to send, on a non-blocking end.
    #[error("the handover socket would block")]
    WouldBlock,
    /// The other end is gone (sending; receiving says `None`).
    #[error("the other end of the handover socket is closed")]
    Closed,
    /// Out of bounds: the message is dropped, the link goes on.
    #[error("handover message of {0} bytes: expected at most {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// More descriptors than fit, or than this process may hold: they are
    /// closed, the link goes on.
    #[error("handover message with too many descriptors: expected at most {MAX_FDS}")]
    TooManyFds,
    /// Not a message of this wire: dropped, the link goes on.
    #[error("not a handover message: {0}")]
    Garbage(String),
    /// A message whose parts do not fit each other: dropped, the link goes on.
    #[error("unacceptable handover message: {0}")]
    Bad(#[from] Bad),
    /// Another failure of the socket.
    #[error("handover socket: {0}")]
    Io(#[from] io::Error),
}

impl LinkError {
    /// Whether only this message is lost and the link can go on being used.
    #[must_use]
    pub fn is_about_one_message(&self) -> bool {
        match self {
            Self::TooLong(_) | Self::TooManyFds | Self::Garbage(_) | Self::Bad(_) => true,
            Self::WouldBlock | Self::Closed | Self::Io(_) => false,
        }
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            LinkError::Closed => io::Error::new(io::ErrorKind::BrokenPipe, error),
            LinkError::TooLong(_)
            | LinkError::TooManyFds
            | LinkError::Garbage(_)
            | LinkError::Bad(_) => io::Error::new(io::ErrorKind::InvalidData, error),
            LinkError::Io(error) => error,
        }
    }
}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::WouldBlock,
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

/// Makes both ends, blocking and close-on-exec.
///
/// # Errors
/// When no socket pair can be made.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

impl InitEnd {
    /// Makes PID 1's end and the descriptor of the manager's, both
    /// close-on-exec; the end is non-blocking, the manager's blocks.
    ///
    /// # Errors
    /// When no socket pair can be made.
    pub fn pair() -> io::Result<(Self, ManagerEnd)> {
        let (ours, theirs) = pair()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self::new(ours), ManagerEnd::new(theirs)))
    }
}

impl ManagerEnd {
    /// Takes the end that this process was started with.
    ///
    /// # Errors
    /// When [`FD_VARIABLE`] is absent, no number, or names nothing open.
    pub fn inherited() -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let value = std::env::var(FD_VARIABLE)
            .map_err(|e| invalid(format!("{FD_VARIABLE}: {e}: only PID 1 starts the manager")))?;
        let number: RawFd = value.parse().map_err(|_| {
            invalid(format!(
                "{FD_VARIABLE}={value:?}: expected a descriptor's number"
            ))
        })?;
        Ok(Self::new(orlop_sys::inherited::duplicate(number)?))
    }
}

impl<Out: Checked, In: Checked> Link<Out, In> {
    /// Wraps a `SOCK_SEQPACKET` socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            words: PhantomData,
        }
    }

    /// Sends one message with its descriptors; whole or not at all.
    ///
    /// # Errors
    /// [`LinkError`]; `WouldBlock` only on a non-blocking end.
    pub fn send(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        message.check(fds.len())?;
        let text = serde_json::to_vec(message).map_err(|e| LinkError::Garbage(e.to_string()))?;
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(LinkError::TooLong(text.len()));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(LinkError::TooManyFds);
        }
        let parts = [IoSlice::new(&text)];
        loop {
            match rustix::net::sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives one message with its descriptors (close-on-exec); `None` once
    /// the other end is closed.
    ///
    /// # Errors
    /// [`LinkError`]; `WouldBlock` only on a non-blocking end. After an error
    /// that [`LinkError::is_about_one_message`] the next call gets the next one.
    pub fn recv(&self) -> Result<Option<(In, Vec<OwnedFd>)>, LinkError> {
        // One byte more than allowed, so that a message of exactly the bound
        // and one beyond it can be told apart.
        let mut text = vec![0; MAX_MESSAGE_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut text)];
            match rustix::net::recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        // The buffer's alignment slack may hold one more than asked for.
        if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
            return Err(LinkError::TooManyFds);
        }
        if received.flags.contains(ReturnFlags::TRUNC) || received.bytes > MAX_MESSAGE_BYTES {
            return Err(LinkError::TooLong(received.bytes));
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        let message = decode::<In>(&text[..received.bytes], fds.len())?;
        Ok(Some((message, fds)))
    }
}

/// Parses and checks one packet.
pub(crate) fn decode<M: Checked>(packet: &[u8], fds: usize) -> Result<M, LinkError> {
    let message: M =
        serde_json::from_slice(packet).map_err(|e| LinkError::Garbage(e.to_string()))?;
    message.check(fds)?;
    Ok(message)
}

impl<Out, In> AsFd for Link<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Out, In> AsRawFd for Link<Out, In> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<Out, In> From<Link<Out, In>> for OwnedFd {
    fn from(link: Link<Out, In>) -> Self {
        link.socket
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
