//! `start`: lets the created process execute its program.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cgroup;
use crate::handshake::Message;
use crate::hooks::{self, Kind};
use crate::state::{Dir, Record, process};
use crate::subject::Subject;

pub(crate) fn start(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    begin(&dir, &record)
}

/// `start` for whoever has the container's directory locked.
pub(crate) fn begin(dir: &Dir, record: &Record) -> Result<()> {
    let id = &record.id;
    let stopped = || format!("container {id} has stopped; it can only be deleted");
    process(record)?.with_context(stopped)?;
    let cgroup = cgroup::open_of(record.pid)?;
    cgroup.as_ref().map_or(Ok(()), cgroup::check_thawed)?;
    let Some(channel) = dir.connect()? else {
        // It listens as long as it is not started, so it is, or it ended just now.
        process(record)?.with_context(stopped)?;
        bail!("container {id} is running already")
    };
    channel.send(&Message::Start)?;
    match channel.receive()? {
        // Closed by execve (or because it was killed at once, which its status will tell).
        None => {}
        Some(Message::Failed(failure)) => return Err(failure.into()),
        Some(other) => bail!("container {id}: unexpected answer {other:?}"),
    }
    if record.later_hooks {
        run_poststart(dir, record)?;
    }
    Ok(())
}

/// The container runs, so others may work on it meanwhile: who knows how long that takes.
fn run_poststart(dir: &Dir, record: &Record) -> Result<()> {
    let hooks = dir.hooks(record)?;
    dir.unlock()?;
    let subject = Subject::of_record(record);
    let run = hooks::run(&hooks, Kind::Poststart, &subject, Some(record.pid), None);
    // The hook's error is the one to tell; what did not end is still there to be deleted, and
    // what was deleted meanwhile has ended.
    if run.is_err() && dir.relock().is_ok() {
        let _ = super::delete::end(record);
    }
    run
}
