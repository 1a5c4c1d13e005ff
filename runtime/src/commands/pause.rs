//! `pause` and `resume`: all processes of a container stop, and run again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cgroup;
use crate::state::{Dir, Record, Status};

pub(crate) fn pause(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    match dir.status(&record)? {
        Status::Created | Status::Running => {}
        Status::Paused => bail!("container {id} is paused already"),
        Status::Creating | Status::Stopped => bail!("container not running: {id} has stopped"),
    }
    cgroup::freeze(own_cgroup(&record)?).with_context(|| format!("pause container {id}"))
}

pub(crate) fn resume(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    match dir.status(&record)? {
        Status::Paused => {}
        Status::Creating | Status::Created | Status::Running => {
            bail!("container not paused: {id} runs")
        }
        Status::Stopped => bail!("container not running: {id} has stopped"),
    }
    cgroup::thaw(own_cgroup(&record)?).with_context(|| format!("resume container {id}"))
}

/// The container's cgroup, for what works on all of its processes.
pub(super) fn own_cgroup(record: &Record) -> Result<&PathBuf> {
    record.cgroup.as_ref().with_context(|| {
        format!(
            "container {} has no cgroup of its own (this machine has no cgroup v2, none was given \
             to us, or it was made with --cgroup-manager=disabled)",
            record.id
        )
    })
}
