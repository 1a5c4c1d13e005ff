//! Makes a process of a container: always a child of ours, in the namespaces it shall have.
//!
//! User and pid namespaces that exist already have to be joined by whoever makes it, and who
//! joined a user namespace cannot come back, to run a hook on the host's side or to remove a
//! cgroup. So a helper does that: it joins, makes the process as a child of its own parent,
//! hands over the pidfd, and ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use orlop_sys::clone::{Child, CloneArgs, kill_and_reap, spawn};
use orlop_sys::wait::reap;
use rustix::io::Errno;

use crate::failure::Failure;
use crate::handshake::{Channel, Message};
use crate::namespaces::join;

/// What to say when no process can be made.
const EXHAUSTED: &str = "clone3 (are user namespaces or processes exhausted?)";

/// Runs `child` in a new process, made in the namespaces `joins`.
pub(crate) fn launch(
    args: CloneArgs<'_>,
    joins: &[(i32, OwnedFd)],
    child: impl FnOnce() -> i32,
) -> Result<Child> {
    if joins.is_empty() {
        return spawn_in(args, child);
    }
    let sibling = CloneArgs {
        sibling: true,
        ..args
    };
    let help = |channel: &Channel| help(sibling, channel, |_| join(joins), |()| child());
    launch_by(CloneArgs::default(), help)
}

/// Runs `child` in a new process that is born of a helper, and so with no more than that has by
/// then: the helper itself starts as `args` say, and then does what `enter` says. That may
/// close all descriptors but the one it is given.
pub(crate) fn launch_after<T>(
    args: CloneArgs<'_>,
    enter: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    child: impl FnOnce(T) -> i32,
) -> Result<Child> {
    let sibling = CloneArgs {
        sibling: true,
        ..CloneArgs::default()
    };
    launch_by(args, |channel| help(sibling, channel, enter, child))
}

fn launch_by(args: CloneArgs<'_>, help: impl FnOnce(&Channel) -> i32) -> Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    let helper = spawn_in(args, || help(&theirs))?;
    drop(theirs);
    let made = ours.receive_with();
    reap(&helper.pidfd)?;
    match made? {
        Some((Message::Made, Some(pidfd))) => with_pid(pidfd),
        Some((Message::Failed(failure), _)) => Err(failure.into()),
        Some((other, _)) => bail!("unexpected answer {other:?}"),
        None => bail!("whoever was to make the container's process was killed"),
    }
}

/// The helper. Its status tells nothing: what it says does.
fn help<T>(
    args: CloneArgs<'_>,
    channel: &Channel,
    enter: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    child: impl FnOnce(T) -> i32,
) -> i32 {
    let made = enter(channel.as_fd()).and_then(|got| spawn_in(args, || child(got)));
    let sent = match &made {
        Ok(child) => channel.send_with(&Message::Made, child.pidfd.as_fd()),
        Err(error) => {
            let failure = Failure::new(None, error);
            channel.send(&Message::Failed(failure)).map_err(Into::into)
        }
    };
    if let (Ok(child), Err(_)) = (&made, sent) {
        // Whoever asked for it is gone. It is not our child, so not ours to reap.
        let _ = kill_and_reap(child);
    }
    0
}

fn spawn_in(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    match spawn(args, child) {
        Err(Errno::ACCESS) if args.cgroup.is_some() => bail!(
            "no process of ours may move to the container's cgroup: of that and our own, the \
             nearest that is above both is not ours; be in the tree that was given to you \
             (`systemd-run --user --scope` has a command there)"
        ),
        made => made.context(EXHAUSTED),
    }
}

/// The process by our own numbers: the helper's may be of another pid namespace.
fn with_pid(pidfd: OwnedFd) -> Result<Child> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).context(path)?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = pid.and_then(|pid| pid.trim().parse().ok());
    match pid {
        Some(pid) if pid > 0 => Ok(Child { pid, pidfd }),
        Some(_) | None => bail!("the container's process has ended"),
    }
}
