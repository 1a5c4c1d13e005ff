//! Kills the manager once, at a moment drawn by chance: anywhere, or within
//! five milliseconds of a create, an apply or an exit.

use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal, kill_process};

/// Kills so far in this boot, across the manager's lives.
const TALLY: &str = "/run/chaos-kills";

/// What a kill waits for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Any time within a second.
    Any,
    /// A container's folder appears or goes.
    Create,
    /// The dropped-in units change.
    Apply,
    /// A container's cgroup empties.
    Exit,
}

/// Kills `manager`, unless `most` kills have fallen already.
pub(crate) fn run(manager: Pid, most: u32) -> Result<()> {
    let before: u32 = std::fs::read_to_string(TALLY)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if before >= most {
        super::say(&format!("rests after {before} kills"));
        return Ok(());
    }
    let moment = match random_below(4)? {
        0 => Moment::Create,
        1 => Moment::Apply,
        2 => Moment::Exit,
        _ => Moment::Any,
    };
    wait_for(moment)?;
    // The tally comes first: a kill may take this process's place in the log.
    std::fs::write(TALLY, (before + 1).to_string())?;
    super::say(&format!("kill {} at {moment:?}", before + 1));
    kill_process(manager, Signal::KILL).context("the kill")
}

fn wait_for(moment: Moment) -> Result<()> {
    let folders: Vec<std::path::PathBuf> = match moment {
        Moment::Any => return sleep_below(1_000_000),
        Moment::Create => vec!["/run/orlop/containers".into()],
        Moment::Apply => vec!["/etc/orlop/units".into()],
        Moment::Exit => cgroup_events(),
    };
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let changes =
        WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO | WatchFlags::MODIFY;
    for folder in folders {
        // What is not there yet cannot be watched; the timeout below then decides.
        let _ = inotify::add_watch(&watch, &folder, changes);
    }
    let mut ready = [rustix::event::PollFd::new(
        &watch,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut ready, Some(&limit))?;
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let _ = inotify::Reader::new(&watch, &mut buffer).next();
    sleep_below(5_000)
}

/// The `cgroup.events` file of every container: it changes when one empties.
fn cgroup_events() -> Vec<std::path::PathBuf> {
    let Ok(units) = std::fs::read_dir("/sys/fs/cgroup/orlop") else {
        return Vec::new();
    };
    units
        .flatten()
        .map(|unit| unit.path().join("cgroup.events"))
        .collect()
}

fn sleep_below(microseconds: u32) -> Result<()> {
    std::thread::sleep(Duration::from_micros(u64::from(random_below(
        microseconds,
    )?)));
    Ok(())
}

fn random_below(limit: u32) -> Result<u32> {
    let drawn = getrandom::u32().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(drawn % limit)
}
