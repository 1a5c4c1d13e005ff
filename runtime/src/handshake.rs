//! What the parent, the child and later `start` say to each other, one message a packet.
//!
//! ```text
//! create -> child   Mapped     id maps, limits and id-mapped trees are in place: go on
//! child -> create   Created    everything but seccomp and execve is done
//! create -> child   Recorded   state.json is written: wait for `start` from now on
//! start -> child    Start
//! child -> anyone   Failed     with the step and its object; the child is ending
//! ```
//!
//! A closed channel is an answer too: to the child, that the parent is gone (so it ends); to
//! `start` and `exec`, that execve succeeded, because every channel is close-on-exec.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, bail};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

/// The longest text of a failure, in bytes.
const MAX_TEXT: usize = 4000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Mapped,
    Created,
    Recorded,
    Start,
    Failed(String),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Message::Mapped => b"M".to_vec(),
            Message::Created => b"C".to_vec(),
            Message::Recorded => b"R".to_vec(),
            Message::Start => b"S".to_vec(),
            Message::Failed(text) => {
                let mut end = text.len().min(MAX_TEXT);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                [b"F", &text.as_bytes()[..end]].concat()
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Message> {
        match bytes {
            b"M" => Some(Message::Mapped),
            b"C" => Some(Message::Created),
            b"R" => Some(Message::Recorded),
            b"S" => Some(Message::Start),
            [b'F', text @ ..] => Some(Message::Failed(String::from_utf8_lossy(text).into_owned())),
            _ => None,
        }
    }
}

/// One end of a channel.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    pub(crate) fn pair() -> Result<(Channel, Channel)> {
        let (left, right) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Channel(left), Channel(right)))
    }

    pub(crate) fn from_socket(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    pub(crate) fn send(&self, message: &Message) -> rustix::io::Result<()> {
        rustix::io::retry_on_intr(|| send(&self.0, &message.encode(), SendFlags::NOSIGNAL))
            .map(drop)
    }

    /// The next message, or `None` when the other end is closed.
    pub(crate) fn receive(&self) -> Result<Option<Message>> {
        let mut buffer = [0_u8; MAX_TEXT + 1];
        let got = rustix::io::retry_on_intr(|| recv(&self.0, &mut buffer, RecvFlags::empty()));
        let length = match got {
            Ok((length, _)) => length,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(errno.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        match Message::decode(&buffer[..length]) {
            Some(message) => Ok(Some(message)),
            None => bail!("a message of {length} bytes that is none of the handshake's"),
        }
    }

    /// Waits for exactly this message.
    pub(crate) fn expect(&self, wanted: &Message) -> Result<()> {
        match self.receive()? {
            Some(message) if message == *wanted => Ok(()),
            Some(Message::Failed(text)) => bail!("{text}"),
            Some(other) => bail!("handshake out of order: expected {wanted:?}, got {other:?}"),
            None => bail!("the other side ended while {wanted:?} was expected"),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_is_enforced() {
        let (parent, child) = Channel::pair().unwrap();
        parent.send(&Message::Recorded).unwrap();
        let error = child.expect(&Message::Mapped).unwrap_err().to_string();
        assert!(error.contains("out of order"), "{error}");
        child.send(&Message::Failed("step x: no".into())).unwrap();
        assert_eq!(
            parent.expect(&Message::Created).unwrap_err().to_string(),
            "step x: no"
        );
        drop(parent);
        assert_eq!(child.receive().unwrap(), None);
        assert!(
            child
                .expect(&Message::Mapped)
                .unwrap_err()
                .to_string()
                .contains("ended")
        );
        assert!(child.send(&Message::Created).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            if let Some(message) = Message::decode(&bytes) {
                let again = Message::decode(&message.encode());
                prop_assert_eq!(again, Some(message));
            }
        }

        #[test]
        fn long_failures_are_cut_at_a_character(text in "\\PC{0,6000}") {
            let bytes = Message::Failed(text.clone()).encode();
            prop_assert!(bytes.len() <= MAX_TEXT + 1);
            let Some(Message::Failed(got)) = Message::decode(&bytes) else {
                return Err(TestCaseError::fail("not a failure"));
            };
            prop_assert!(text.starts_with(&got));
        }
    }
}
