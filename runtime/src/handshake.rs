//! What the parent, the child and later `start` say to each other, one message a packet.
//!
//! ```text
//! helper -> maker   Made       the child is made, here is its pidfd (only where it has to be
//!                              made by one that is in namespaces already)
//! create -> child   Mapped     id maps, limits and id-mapped trees are in place: go on
//! child -> create   TimeMade   a time namespace is made, but not entered (only with one)
//! create -> child   TimeSet    its offsets are written
//! child -> create   Built      the root is built, but not entered (only with hooks in create)
//! create -> child   Hooked     prestart and createRuntime hooks have run
//! child -> maker    Listener   here is what the seccomp agent is to get (only with one)
//! child -> create   Created    everything but seccomp and execve is done
//! create -> child   Recorded   state.json is written: wait for `start` from now on
//! start -> child    Start
//! child -> anyone   Failed     with an exit status, the step and its object; the child is
//!                              ending
//! ```
//!
//! A closed channel is an answer too: to the child, that the parent is gone (so it ends); to
//! `start` and `exec`, that execve succeeded, because every channel is close-on-exec.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Result, bail};
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};

use crate::failure::Failure;

/// The longest text of a failure, in bytes.
const MAX_TEXT: usize = 4000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Made,
    Mapped,
    TimeMade,
    TimeSet,
    Built,
    Hooked,
    Listener,
    Created,
    Recorded,
    Start,
    Failed(Failure),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Message::Made => b"P".to_vec(),
            Message::Mapped => b"M".to_vec(),
            Message::TimeMade => b"T".to_vec(),
            Message::TimeSet => b"t".to_vec(),
            Message::Built => b"B".to_vec(),
            Message::Hooked => b"H".to_vec(),
            Message::Listener => b"L".to_vec(),
            Message::Created => b"C".to_vec(),
            Message::Recorded => b"R".to_vec(),
            Message::Start => b"S".to_vec(),
            Message::Failed(Failure { status, text }) => {
                let mut end = text.len().min(MAX_TEXT);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                [&[b'F', *status], &text.as_bytes()[..end]].concat()
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Message> {
        match bytes {
            b"P" => Some(Message::Made),
            b"M" => Some(Message::Mapped),
            b"T" => Some(Message::TimeMade),
            b"t" => Some(Message::TimeSet),
            b"B" => Some(Message::Built),
            b"H" => Some(Message::Hooked),
            b"L" => Some(Message::Listener),
            b"C" => Some(Message::Created),
            b"R" => Some(Message::Recorded),
            b"S" => Some(Message::Start),
            // With a status of 0 it would be no failure.
            [b'F', status @ 1..=u8::MAX, text @ ..] => Some(Message::Failed(Failure {
                status: *status,
                text: String::from_utf8_lossy(text).into_owned(),
            })),
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

    /// Sends a descriptor along.
    pub(crate) fn send_with(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<()> {
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let text = message.encode();
        let text = [IoSlice::new(&text)];
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &text, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// The next message, or `None` when the other end is closed.
    pub(crate) fn receive(&self) -> Result<Option<Message>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// The next message, with the descriptor that came along.
    pub(crate) fn receive_with(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut buffer = [0_u8; MAX_TEXT + 2];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            recvmsg(
                &self.0,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        });
        let length = match got {
            Ok(got) => got.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(errno.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match Message::decode(&buffer[..length]) {
            Some(message) => Ok(Some((message, fd))),
            None => bail!("a message of {length} bytes that is none of the handshake's"),
        }
    }

    /// Whether the other end is closed and left no message.
    pub(crate) fn is_closed(&self) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(
            recv(&self.0, &mut [0_u8; 1], look),
            Ok((0, _)) | Err(Errno::CONNRESET)
        )
    }

    /// The next message; a listener that comes before it goes to `agent`.
    pub(crate) fn receive_past_listener(
        &self,
        agent: &dyn Fn(OwnedFd) -> Result<()>,
    ) -> Result<Option<Message>> {
        match self.receive_with()? {
            Some((Message::Listener, Some(listener))) => {
                agent(listener)?;
                self.receive()
            }
            Some((message, _)) => Ok(Some(message)),
            None => Ok(None),
        }
    }

    /// Waits for exactly this message.
    pub(crate) fn expect(&self, wanted: &Message) -> Result<()> {
        is(self.receive()?, wanted)
    }

    /// Waits for exactly this message, but for a listener before it.
    pub(crate) fn expect_past_listener(
        &self,
        wanted: &Message,
        agent: &dyn Fn(OwnedFd) -> Result<()>,
    ) -> Result<()> {
        is(self.receive_past_listener(agent)?, wanted)
    }
}

fn is(got: Option<Message>, wanted: &Message) -> Result<()> {
    match got {
        Some(message) if message == *wanted => Ok(()),
        Some(Message::Failed(failure)) => Err(failure.into()),
        Some(other) => bail!("handshake out of order: expected {wanted:?}, got {other:?}"),
        None => bail!("the other side ended while {wanted:?} was expected"),
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
        let failure = Failure {
            status: 126,
            text: "step x: no".into(),
        };
        child.send(&Message::Failed(failure.clone())).unwrap();
        let error = parent.expect(&Message::Created).unwrap_err();
        assert_eq!(error.to_string(), "step x: no");
        assert_eq!(error.downcast_ref(), Some(&failure));
        assert!(!child.is_closed());
        drop(parent);
        assert!(child.is_closed());
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

    #[test]
    fn a_descriptor_comes_along() {
        let (parent, child) = Channel::pair().unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        child.send_with(&Message::Made, file.as_fd()).unwrap();
        child.send(&Message::Created).unwrap();
        let (message, fd) = parent.receive_with().unwrap().unwrap();
        assert_eq!(message, Message::Made);
        let (sent, got) = (rustix::fs::fstat(&file), rustix::fs::fstat(fd.unwrap()));
        assert_eq!(sent.unwrap().st_ino, got.unwrap().st_ino);
        let (message, fd) = parent.receive_with().unwrap().unwrap();
        assert!(message == Message::Created && fd.is_none());
    }

    #[test]
    fn a_failure_has_a_status() {
        let failed = |status, text: &str| {
            let text = text.into();
            Some(Message::Failed(Failure { status, text }))
        };
        assert_eq!(Message::decode(b"F\x7fno"), failed(127, "no"));
        assert_eq!(Message::decode(b"F\x01"), failed(1, ""));
        assert_eq!(Message::decode(b"F\0no"), None);
        assert_eq!(Message::decode(b"F"), None);
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
        fn long_failures_are_cut_at_a_character(status in 1_u8.., text in "\\PC{0,6000}") {
            let failure = Failure { status, text: text.clone() };
            let bytes = Message::Failed(failure).encode();
            prop_assert!(bytes.len() <= MAX_TEXT + 2);
            let Some(Message::Failed(got)) = Message::decode(&bytes) else {
                return Err(TestCaseError::fail("not a failure"));
            };
            prop_assert_eq!(got.status, status);
            prop_assert!(text.starts_with(&got.text));
        }
    }
}
