//! `start`: lets the created process execute its program.

use std::path::Path;

use anyhow::{Result, bail};

use crate::handshake::Message;
use crate::state::{Dir, Status};

pub(crate) fn start(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    let status = dir.status(&record)?;
    let channel = match (status, dir.connect()?) {
        (Status::Created, Some(channel)) => channel,
        (Status::Running, _) => bail!("container {id} is running already"),
        (Status::Created | Status::Creating | Status::Stopped, _) => {
            bail!("container {id} has stopped; it can only be deleted")
        }
    };
    channel.send(&Message::Start)?;
    match channel.receive()? {
        // Closed by execve (or because it was killed at once, which its status will tell).
        None => Ok(()),
        Some(Message::Failed(failure)) => Err(failure.into()),
        Some(other) => bail!("container {id}: unexpected answer {other:?}"),
    }
}
