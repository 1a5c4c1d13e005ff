//! `start`: lets the created process execute its program.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cgroup;
use crate::handshake::Message;
use crate::hooks::{self, Kind};
use crate::state::{Dir, Status};
use crate::subject::Subject;

pub(crate) fn start(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    let status = dir.status(&record)?;
    match status {
        Status::Created => {}
        Status::Running => bail!("container {id} is running already"),
        Status::Creating | Status::Stopped => {
            bail!("container {id} has stopped; it can only be deleted")
        }
    }
    let cgroup = cgroup::open_of(record.pid)?;
    cgroup.as_ref().map_or(Ok(()), cgroup::check_thawed)?;
    let channel = dir.connect()?;
    let channel = channel.with_context(|| format!("container {id} has stopped"))?;
    channel.send(&Message::Start)?;
    match channel.receive()? {
        // Closed by execve (or because it was killed at once, which its status will tell).
        None => {}
        Some(Message::Failed(failure)) => return Err(failure.into()),
        Some(other) => bail!("container {id}: unexpected answer {other:?}"),
    }
    let subject = Subject::of_record(&record);
    let run = hooks::run(&dir.hooks()?, Kind::Poststart, &subject, Some(record.pid));
    if run.is_err() {
        // The hook's error is the one to tell; what did not end is still there to be deleted.
        let _ = super::delete::end(&record);
    }
    run
}
