//! `delete`: takes a stopped container away; with --force, any.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use oci_spec::runtime::Hooks;

use crate::cgroup;
use crate::hooks;
use crate::state::{Dir, Record, Status, check_id, process};
use crate::subject::Subject;

/// How long a process that got SIGKILL may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    check_id(id)?;
    if force && !root.join(id).exists() {
        return Ok(());
    }
    let dir = Dir::open_unlocked(root, id)?;
    if force && !dir.try_lock()? {
        // Whoever has the lock may wait for a hook for ever: not without the process.
        if let Ok(Some(record)) = dir.record() {
            end_process(&record)?;
        }
    }
    match dir.relock() {
        // It was being created or deleted, and that has ended.
        Err(_) if force && !root.join(id).exists() => return Ok(()),
        locked => locked?,
    }
    remove(dir, id, force)
}

/// Deletes the container that `made` is the record of, by force, because without a pid namespace
/// of its own it may have left processes. If it is gone, whoever has its id now is left alone.
pub(crate) fn delete_same(root: &Path, made: &Record) -> Result<()> {
    let is_same = |dir: &Dir| -> Result<bool> {
        let same = |now: Record| (now.pid, now.start_time) == (made.pid, made.start_time);
        Ok(dir.record()?.is_some_and(same))
    };
    match Dir::open(root, &made.id) {
        Ok(dir) if is_same(&dir)? => remove(dir, &made.id, true),
        Ok(_) => Ok(()),
        Err(error) => match Dir::open_unlocked(root, &made.id) {
            Ok(dir) if is_same(&dir)? => Err(error),
            Ok(_) | Err(_) => Ok(()),
        },
    }
}

fn remove(dir: Dir, id: &str, force: bool) -> Result<()> {
    let record = match dir.record() {
        Ok(record) => record,
        Err(_) if force => None,
        Err(error) => return Err(error),
    };
    let Some(record) = record else {
        if !force {
            // As an unfinished create leaves it, when it is killed.
            dir.created_record()?;
        }
        // Nothing is killed: a process of its own ends by itself when `create` is gone, and
        // others may live there by now.
        if let Some(path) = dir.noted_cgroup()? {
            cgroup::remove(&path)?;
        }
        return dir.remove();
    };
    match dir.status(&record)? {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        Status::Running | Status::Paused | Status::Creating if force => end(&record)?,
        Status::Paused => {
            bail!("container {id} is paused; resume and stop it, or delete it with --force")
        }
        Status::Running | Status::Creating => {
            bail!("container {id} is running; stop it first, or delete it with --force")
        }
    }
    if let Some(path) = cgroup_of(&record) {
        // Without a pid namespace of its own, its first process may have left others.
        cgroup::kill(path)?;
    }
    leave_cgroup(&record, force)?;
    // What cannot be read any more must not keep the container for ever.
    let hooks = match dir.hooks(&record) {
        Ok(hooks) => hooks,
        Err(_) if force => Hooks::default(),
        Err(error) => return Err(error),
    };
    dir.remove()?;
    hooks::run_poststop(&hooks, &Subject::of_record(&record));
    Ok(())
}

/// Has systemd take its cgroup away, and takes away what is left then. Where another container
/// has one at the same place, that is left alone. By force also where systemd cannot be
/// asked: a scope in which nothing is left ends by itself. One that has ended is forgotten by systemd, failed or
/// not, so nobody has to be asked, who may be gone with its user's login.
fn leave_cgroup(record: &Record, force: bool) -> Result<()> {
    let Some(own) = cgroup_of(record) else {
        return Ok(());
    };
    match record.scope.as_ref().map_or(Ok(()), cgroup::stop) {
        Ok(()) => {}
        Err(_) if force => cgroup::leave_to_systemd(own),
        Err(error) => return Err(error),
    }
    cgroup::remove(own)
}

/// The cgroup that was made for the container, if it is still there. With a path that its
/// configuration fixes, the cgroup of the next container is at the same place.
pub(super) fn cgroup_of(record: &Record) -> Option<&Path> {
    let path = record.cgroup.as_deref()?;
    let found = cgroup::identity(path)?;
    let same = record.cgroup_identity.is_none_or(|made| made == found);
    same.then_some(path)
}

/// Kills the first process, and with it everything in its pid namespace.
pub(super) fn end(record: &Record) -> Result<()> {
    if let Some(path) = cgroup_of(record) {
        cgroup::kill(path)?;
    }
    end_process(record)
}

/// Kills the first process alone, as may be done without the lock: it can be no other's.
fn end_process(record: &Record) -> Result<()> {
    let Some(pidfd) = process(record)? else {
        return Ok(());
    };
    match orlop_sys::signal::send(&pidfd, 9) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    if !cgroup::ends_within(&pidfd, END_WITHIN)? {
        bail!(
            "process {} of container {} does not end, {} s after SIGKILL",
            record.pid,
            record.id,
            END_WITHIN.as_secs()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user's systemd, too.
    #[test]
    fn what_is_gone_needs_nobody() {
        let record = serde_json::json!({
            "ociVersion": "1.3.0",
            "id": "gone",
            "status": "created",
            "bundle": "/",
            "startTime": 1,
            "cgroup": "/no/such/cgroup",
            "scope": { "unit": "orlop-no-such.scope", "user": true },
        });
        let record: Record = serde_json::from_value(record).unwrap();
        leave_cgroup(&record, false).unwrap();
    }
}
