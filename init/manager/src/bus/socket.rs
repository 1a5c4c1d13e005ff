//! The stream under a client's connection, with a bound on its messages.
//!
//! D-Bus allows messages of 128 MiB, and the library takes the memory for one
//! as soon as its header says so. Nothing here needs more than names.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::AuthMechanism;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// The largest message of a client, in bytes.
const MESSAGE_SIZE_MAX: u64 = 64 * 1024;
/// The fixed part of a message's header (D-Bus Specification, "Message Format").
const HEADER_SIZE: usize = 16;

/// A client's stream after its greeting.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) UnixStream);

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        Split::new(
            Reader {
                read,
                frame: Frame::default(),
            },
            Writer(write),
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
    /// Takes note of bytes that came; an error when they begin a message that
    /// is too large.
    fn note(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped =
                    usize::try_from(self.left).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = bytes.len().min(HEADER_SIZE - self.header.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.header.len() == HEADER_SIZE {
                self.left = rest_size(&self.header)?;
                self.header.clear();
            }
        }
        Ok(())
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
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let size = self.read.read(buffer).await?;
        self.frame.note(&buffer[..size])?;
        // Descriptors are not read, so the kernel closes those that were sent.
        Ok((size, Vec::new()))
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AuthMechanism::Anonymous
    }
}

#[derive(Debug)]
pub(super) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
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
            for bytes in two.chunks(size) {
                frame.note(bytes).unwrap();
            }
            assert_eq!(
                (frame.left, frame.header.len()),
                (0, 0),
                "in pieces of {size}"
            );
        }
        for (body, fields) in [(u32::MAX, 0), (0, u32::MAX), (65 * 1024, 8)] {
            assert!(Frame::default().note(&header(body, fields)).is_err());
        }
    }
}
