//! The stream under a client's connection, with a bound on its messages.
//!
//! D-Bus allows messages of 128 MiB, and the library takes the memory for one
//! as soon as its header says so. Nothing here needs more than names.
//!
//! The library also begins each call at once and keeps its message until the
//! answer is written. So a call is read only while few are unanswered, and a
//! client that does not take its answers loses its connection.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use zbus::Message;
use zbus::connection::AuthMechanism;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::message::Type;

/// The largest message of a client, in bytes.
const MESSAGE_SIZE_MAX: u64 = 64 * 1024;
/// The fixed part of a message's header (D-Bus Specification, "Message Format").
const HEADER_SIZE: usize = 16;
/// Where its type is, and the type of a method call.
const TYPE_AT: usize = 1;
const METHOD_CALL: u8 = 1;
/// Where its flags are, and the one of a caller that wants no answer.
const FLAGS_AT: usize = 2;
const NO_REPLY_EXPECTED: u8 = 1;
/// Calls of one client that may be unanswered.
const UNANSWERED_MAX: usize = 32;
/// How long a client may take to read a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client's stream after its greeting.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) UnixStream);

/// What the two directions know of one another.
#[derive(Debug)]
struct Calls {
    /// One permit for each call that may still come before one is answered.
    room: Semaphore,
    /// The client has not read its messages in time.
    unread: CancellationToken,
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        let calls = Arc::new(Calls {
            room: Semaphore::new(UNANSWERED_MAX),
            unread: CancellationToken::new(),
        });
        Split::new(
            Reader {
                read,
                frame: Frame::default(),
                calls: calls.clone(),
            },
            Writer { write, calls },
        )
    }
}

/// Where in a message the bytes are that come next.
#[derive(Debug, Default)]
struct Frame {
    header: Vec<u8>,
    /// Bytes of the message after its fixed header that are still to come.
    left: u64,
}

impl Frame {
    /// Whether the next byte begins a message.
    fn is_between(&self) -> bool {
        self.left == 0 && self.header.is_empty()
    }

    /// Takes note of bytes that came: returns how many calls began with them; an
    /// error when one of the messages is too large. Whoever wants no answer gets
    /// one all the same, as D-Bus allows: each call is over when it is answered.
    fn note(&mut self, mut bytes: &mut [u8]) -> io::Result<usize> {
        let mut calls = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped =
                    usize::try_from(self.left).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.left -= skipped as u64;
                bytes = &mut bytes[skipped..];
                continue;
            }
            let before = self.header.len();
            let taken = bytes.len().min(HEADER_SIZE - before);
            let (header, rest) = bytes.split_at_mut(taken);
            let flags = FLAGS_AT.checked_sub(before);
            if let Some(flags) = flags.and_then(|at| header.get_mut(at)) {
                *flags &= !NO_REPLY_EXPECTED;
            }
            self.header.extend_from_slice(header);
            bytes = rest;
            if self.header.len() == HEADER_SIZE {
                self.left = rest_size(&self.header)?;
                calls += usize::from(self.header[TYPE_AT] == METHOD_CALL);
                self.header.clear();
            }
        }
        Ok(calls)
    }
}

/// How many bytes follow a fixed header: the rest of the header's fields, padded
/// to 8, and the body.
fn rest_size(header: &[u8]) -> io::Result<u64> {
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        // `l` for little-endian, `B` for big-endian.
        u64::from(if header[0] == b'B' {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let size = number(12).next_multiple_of(8) + number(4);
    if size > MESSAGE_SIZE_MAX {
        let message = format!("a message of {size} bytes; at most {MESSAGE_SIZE_MAX} are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(size)
}

#[derive(Debug)]
pub(super) struct Reader {
    read: OwnedReadHalf,
    frame: Frame,
    calls: Arc<Calls>,
}

impl Reader {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.frame.is_between() {
            // Taken for good once it is known that a call came.
            drop(self.calls.room.acquire().await);
        }
        let size = self.read.read(buffer).await?;
        let calls = self.frame.note(&mut buffer[..size])?;
        self.calls.room.forget_permits(calls);
        Ok(size)
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let unread = self.calls.unread.clone();
        let size = tokio::select! {
            () = unread.cancelled() => return Err(does_not_read()),
            size = self.receive(buffer) => size?,
        };
        // Descriptors are not read, so the kernel closes those that were sent.
        Ok((size, Vec::new()))
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AuthMechanism::Anonymous
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    write: OwnedWriteHalf,
    calls: Arc<Calls>,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        if self.calls.unread.is_cancelled() {
            return Err(does_not_read().into());
        }
        let written = self.write.write_all(message.data());
        match tokio::time::timeout(WRITE_TIMEOUT, written).await {
            Ok(written) => written?,
            Err(_) => {
                self.calls.unread.cancel();
                return Err(does_not_read().into());
            }
        }
        match message.message_type() {
            Type::MethodReturn | Type::Error => self.calls.room.add_permits(1),
            Type::MethodCall | Type::Signal => {}
        }
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }
}

fn does_not_read() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client does not read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(body: u32, fields: u32) -> Vec<u8> {
        let mut header = vec![b'l', 1, 0, 1];
        header.extend(body.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        header.extend(fields.to_le_bytes());
        header
    }

    #[test]
    fn sizes_are_read_off_headers_however_they_come() {
        let mut message = header(10, 5);
        message.extend(vec![0; 8 + 10]);
        let two: Vec<u8> = message.iter().chain(&message).copied().collect();
        for size in [1, 3, 16, 17, 100] {
            let mut frame = Frame::default();
            let mut calls = 0;
            let mut two = two.clone();
            for bytes in two.chunks_mut(size) {
                calls += frame.note(bytes).unwrap();
            }
            assert!(frame.is_between() && calls == 2, "in pieces of {size}");
        }
        for (body, fields) in [(u32::MAX, 0), (0, u32::MAX), (65 * 1024, 8)] {
            assert!(Frame::default().note(&mut header(body, fields)).is_err());
        }
    }

    #[test]
    fn calls_are_told_from_signals_and_all_get_an_answer() {
        let mut signal = header(0, 0);
        signal[TYPE_AT] = 4;
        assert_eq!(Frame::default().note(&mut signal).unwrap(), 0);
        for size in [1, 2, 3, 16] {
            let mut call = header(0, 0);
            call[FLAGS_AT] = NO_REPLY_EXPECTED | 2;
            let mut frame = Frame::default();
            for bytes in call.chunks_mut(size) {
                frame.note(bytes).unwrap();
            }
            assert_eq!(call[FLAGS_AT], 2, "in pieces of {size}");
        }
    }
}
