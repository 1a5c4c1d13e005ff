//! The link to PID 1, as two queues.
//!
//! What comes is handed to the owner task as it is, pings included: only a
//! living owner loop answers them, so that PID 1 notices one that hangs. What
//! goes waits in an [`Outbox`] until PID 1 takes it. The two ways are served by
//! a task each: PID 1 may not listen before it has been listened to.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use orlop_handover::{FromInit, LinkError, ManagerEnd, ToInit};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// How many messages may wait in either direction.
const QUEUED_MAX: usize = 1024;
/// With so many more waiting the outbox is crowded. Every exit in PID 1's table
/// may be acknowledged in one go, so it is more than those are.
const CROWD: usize = 8192;

/// A message to PID 1 with its descriptors.
pub type Outgoing = (ToInit, Vec<OwnedFd>);
/// A message from PID 1 with its descriptors.
pub type Incoming = (FromInit, Vec<OwnedFd>);

/// What PID 1 is still to be told, in order. Nothing is dropped while PID 1
/// lives; it stays bounded as its owner takes up nothing new while it is
/// crowded.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    backlog: VecDeque<Outgoing>,
}

impl Outbox {
    pub(crate) fn new(queue: mpsc::Sender<Outgoing>) -> Outbox {
        Outbox {
            queue,
            backlog: VecDeque::new(),
        }
    }

    /// Says one thing more.
    pub fn say(&mut self, message: ToInit, fds: Vec<OwnedFd>) {
        self.backlog.push_back((message, fds));
        while !self.backlog.is_empty()
            && let Ok(room) = self.queue.try_reserve()
            && let Some(next) = self.backlog.pop_front()
        {
            room.send(next);
        }
    }

    /// Whether nothing should be begun that leads to more to say.
    pub fn is_crowded(&self) -> bool {
        self.backlog.len() >= CROWD
    }

    /// Passes one message on as soon as there is room; waits for ever when none
    /// is left, or nobody to tell it to.
    pub async fn pass_on(&mut self) {
        if !self.backlog.is_empty()
            && let Ok(room) = self.queue.reserve().await
            && let Some(next) = self.backlog.pop_front()
        {
            return room.send(next);
        }
        std::future::pending().await
    }
}

/// Both ways of the link.
#[derive(Debug)]
struct Socket {
    /// For waiting only. The type's name says stream; it never reads or writes.
    waiter: UnixStream,
    link: ManagerEnd,
}

/// Serves the link in two tasks. The receiver ends when PID 1's end is closed.
pub fn serve(link: ManagerEnd) -> std::io::Result<(Outbox, mpsc::Receiver<Incoming>)> {
    rustix::io::ioctl_fionbio(&link, true)?;
    let waiter = StdStream::from(link.as_fd().try_clone_to_owned()?);
    let waiter = UnixStream::from_std(waiter)?;
    let socket = Arc::new(Socket { waiter, link });
    let (to_init, outgoing) = mpsc::channel(QUEUED_MAX);
    let (incoming, from_init) = mpsc::channel(QUEUED_MAX);
    tokio::spawn(listen(Arc::clone(&socket), incoming));
    tokio::spawn(speak(socket, outgoing));
    Ok((Outbox::new(to_init), from_init))
}

async fn listen(socket: Arc<Socket>, incoming: mpsc::Sender<Incoming>) {
    loop {
        match receive(&socket.waiter, &socket.link).await {
            Ok(Some(message)) => {
                if incoming.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) if error.is_about_one_message() => {
                tracing::warn!("PID 1 said something odd: {error}");
            }
            Err(error) => return tracing::error!("the link to PID 1 broke: {error}"),
        }
    }
}

async fn speak(socket: Arc<Socket>, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some((message, fds)) = outgoing.recv().await {
        match send(&socket.waiter, &socket.link, &message, &fds).await {
            Ok(()) => {}
            Err(LinkError::Closed) => return,
            Err(error) => tracing::error!("PID 1 could not be told {message:?}: {error}"),
        }
    }
}

async fn receive(waiter: &UnixStream, link: &ManagerEnd) -> Result<Option<Incoming>, LinkError> {
    loop {
        waiter.readable().await?;
        let mut problem = None;
        let received = waiter.try_io(Interest::READABLE, || match link.recv() {
            Ok(message) => Ok(message),
            Err(LinkError::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
            Err(error) => {
                problem = Some(error);
                Ok(None)
            }
        });
        match (problem, received) {
            (Some(error), _) => return Err(error),
            (None, Ok(message)) => return Ok(message),
            (None, Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            (None, Err(error)) => return Err(error.into()),
        }
    }
}

async fn send(
    waiter: &UnixStream,
    link: &ManagerEnd,
    message: &ToInit,
    fds: &[OwnedFd],
) -> Result<(), LinkError> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    loop {
        match link.send(message, &borrowed) {
            Err(LinkError::WouldBlock) => waiter.writable().await?,
            Err(LinkError::Io(error)) if passes(&error) => {}
            result => return result,
        }
        // A seqpacket's room is not what writable() is about to the byte: do
        // not spin on it.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether the kernel only lacks memory, or has too many descriptors on their
/// way, just now.
fn passes(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_handover::InitEnd;

    const MANY: u64 = 6_000;
    const PATIENCE: Duration = Duration::from_secs(60);

    fn heard(init: &InitEnd) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Ok(Some((ToInit::Pong { seq }, _))) = init.recv() {
            seqs.push(seq);
        }
        seqs
    }

    /// Nothing is said while nothing is read: what waits then is more than the
    /// socket and the queue hold.
    async fn said_to_a_deaf_end() -> (InitEnd, Outbox, mpsc::Receiver<Incoming>) {
        let (init, manager) = InitEnd::pair().unwrap();
        let (mut outbox, from_init) = serve(manager).unwrap();
        for seq in 0..MANY {
            outbox.say(ToInit::Pong { seq }, Vec::new());
            tokio::task::yield_now().await;
        }
        assert!(!outbox.backlog.is_empty());
        (init, outbox, from_init)
    }

    async fn all_heard(init: &InitEnd, outbox: &mut Outbox) {
        let mut seqs = Vec::new();
        let began = std::time::Instant::now();
        while seqs.len() < usize::try_from(MANY).unwrap() {
            assert!(began.elapsed() < PATIENCE, "heard {} of {MANY}", seqs.len());
            tokio::select! {
                () = outbox.pass_on() => {}
                () = tokio::time::sleep(Duration::from_millis(1)) => seqs.extend(heard(init)),
            }
        }
        assert!(seqs.iter().copied().eq(0..MANY));
    }

    #[tokio::test]
    async fn everything_is_told_in_order_however_late_pid_1_reads() {
        let (init, mut outbox, _from_init) = said_to_a_deaf_end().await;
        all_heard(&init, &mut outbox).await;
    }

    #[tokio::test]
    async fn pid_1_is_listened_to_while_it_does_not_listen() {
        let (init, mut outbox, mut from_init) = said_to_a_deaf_end().await;
        // As PID 1 does when it is crowded: first everything it has to say.
        let mut asked = 0;
        while asked < MANY {
            match init.send(&FromInit::Ping { seq: asked }, &[]) {
                Ok(()) => asked += 1,
                Err(LinkError::WouldBlock) => {
                    let listens = tokio::time::timeout(PATIENCE, from_init.recv()).await;
                    assert!(listens.is_ok(), "not listened to");
                }
                Err(error) => panic!("{error}"),
            }
        }
        all_heard(&init, &mut outbox).await;
    }

    #[tokio::test]
    async fn an_outbox_says_when_it_is_crowded() {
        let (_init, manager) = InitEnd::pair().unwrap();
        let (mut outbox, _from_init) = serve(manager).unwrap();
        let mut said = 0;
        while !outbox.is_crowded() && said < 2 * CROWD {
            outbox.say(ToInit::Running, Vec::new());
            said += 1;
        }
        assert_eq!(said, QUEUED_MAX + CROWD);
    }
}
