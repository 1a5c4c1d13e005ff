//! The link to PID 1, as two queues.
//!
//! What comes is handed to the owner task as it is, pings included: only a
//! living owner loop answers them, so that PID 1 notices one that hangs.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use orlop_handover::{FromInit, LinkError, ManagerEnd, ToInit};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// How many messages may wait in either direction.
const QUEUED_MAX: usize = 1024;

/// A message to PID 1 with its descriptors.
pub type Outgoing = (ToInit, Vec<OwnedFd>);
/// A message from PID 1 with its descriptors.
pub type Incoming = (FromInit, Vec<OwnedFd>);

/// Serves the link in a task. Both queues end when PID 1's end is closed.
pub fn serve(
    link: ManagerEnd,
) -> std::io::Result<(mpsc::Sender<Outgoing>, mpsc::Receiver<Incoming>)> {
    rustix::io::ioctl_fionbio(&link, true)?;
    // For waiting only. The type's name says stream; it never reads or writes.
    let waiter = StdStream::from(link.as_fd().try_clone_to_owned()?);
    let waiter = UnixStream::from_std(waiter)?;
    let (to_init, mut outgoing) = mpsc::channel::<Outgoing>(QUEUED_MAX);
    let (incoming, from_init) = mpsc::channel(QUEUED_MAX);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                received = receive(&waiter, &link) => match received {
                    Ok(Some(message)) => if incoming.send(message).await.is_err() { return },
                    Ok(None) => return,
                    Err(error) if error.is_about_one_message() => {
                        tracing::warn!("PID 1 said something odd: {error}");
                    }
                    Err(error) => {
                        tracing::error!("the link to PID 1 broke: {error}");
                        return;
                    }
                },
                message = outgoing.recv() => {
                    let Some((message, fds)) = message else { return };
                    if let Err(error) = send(&waiter, &link, &message, &fds).await {
                        tracing::warn!("PID 1 could not be told {message:?}: {error}");
                    }
                }
            }
        }
    });
    Ok((to_init, from_init))
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
            result => return result,
        }
        // A seqpacket's room is not what writable() is about to the byte: do
        // not spin on it.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
