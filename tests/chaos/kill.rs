//! Kills the manager once: at any moment of its life, or within five
//! milliseconds of a create, an apply or an exit, or so that a container ends
//! while there is no manager.
//!
//! Each kind falls as often as the others, in an order drawn by chance. Most
//! kinds wait for something that only a working manager brings about, so the
//! host gets on between the kills; the time that this takes is the machine's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The kinds of the kills so far in this boot, across the manager's lives.
const TALLY: &str = "/run/chaos-kills";
/// Where the containers' volumes are.
const VOLUMES: &str = "/var/lib/orlop/volumes";
/// Each unit's cgroup is in there.
const CGROUPS: &str = "/sys/fs/cgroup/orlop";
/// A kill falls so soon after what it is to meet, at the latest.
const NEAR: Duration = Duration::from_millis(5);
/// So many microseconds of that are waited for, at most.
const WAIT_US: u32 = 4_500;
/// What a kill counts as that came too late for what it was to meet.
const LATE: &str = "Late";
/// A kill at any moment falls so many microseconds after the start, at most:
/// while the manager starts, or later.
const ANY_US: u32 = 2_000_000;

/// What a kill is to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing: any time, the manager's start included.
    Any,
    /// A container's folder, or the runtime's record of it, appears.
    Create,
    /// Unit files are staged, put in force, or moved to their place.
    Apply,
    /// A container's process ends.
    Exit,
    /// A container's process ends, and there is no manager.
    Gap,
}

const MOMENTS: [Moment; 5] = [
    Moment::Any,
    Moment::Create,
    Moment::Apply,
    Moment::Exit,
    Moment::Gap,
];

/// Kills `manager`, which began at `began`, unless `most` kills have fallen
/// already where they were to fall.
pub(crate) fn run(manager: Pid, began: &str, most: usize) -> Result<()> {
    let mut tally = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(TALLY)?;
    let mut fallen = String::new();
    tally.read_to_string(&mut fallen)?;
    let fallen: Vec<&str> = fallen.lines().map(str::trim_end).collect();
    let before = fallen.len();
    super::say(&format!("manager {before} begins at {began}"));
    let late = fallen.iter().filter(|name| **name == LATE).count();
    if before - late >= most {
        super::say(&format!("rests after {before} kills"));
        return Ok(());
    }
    // Whoever else wants to run: this one is to come in time.
    rustix::process::nice(-20)?;
    ensure!(late < 2 * most, "{late} of {before} kills fell too late");
    let moment = draw(&fallen, most)?;
    let met = wait_for(moment)?;
    // The tally comes first: the next tormentor must not find the old one.
    let mut name = format!("{moment:?}");
    let at = (before * line(&name).len()) as u64;
    tally.write_all_at(&line(&name), at)?;
    let mut after = met.elapsed();
    if moment.is_near() && after > NEAR {
        LATE.clone_into(&mut name);
        tally.write_all_at(&line(LATE), at)?;
        after = met.elapsed();
    }
    kill_process(manager, Signal::KILL).context("the kill")?;
    super::say(&format!(
        "kill {} at {name} at {} after {}",
        before + 1,
        super::now_ms()?,
        after.as_micros()
    ));
    if moment == Moment::Gap {
        // They look for this file.
        for volume in writers()? {
            std::fs::write(volume.join("end"), "")?;
        }
    }
    Ok(())
}

impl Moment {
    /// Whether the kill must fall close to what it is to meet.
    fn is_near(self) -> bool {
        match self {
            Moment::Create | Moment::Apply | Moment::Exit => true,
            Moment::Any | Moment::Gap => false,
        }
    }
}

/// A line of the tally; all are of one length.
fn line(name: &str) -> Vec<u8> {
    format!("{name:<6}\n").into_bytes()
}

/// One of the kinds that are still due.
fn draw(fallen: &[&str], most: usize) -> Result<Moment> {
    let due: Vec<Moment> = MOMENTS
        .into_iter()
        .flat_map(|moment| {
            let name = format!("{moment:?}");
            let fell = fallen.iter().filter(|fell| **fell == name).count();
            std::iter::repeat_n(moment, most.div_ceil(MOMENTS.len()).saturating_sub(fell))
        })
        .collect();
    ensure!(!due.is_empty(), "no kind of kill is due");
    Ok(due[random_below(u32::try_from(due.len())?)? as usize])
}

/// When that was which the kill is to meet; it was a little while ago.
fn wait_for(moment: Moment) -> Result<Instant> {
    match moment {
        Moment::Any => sleep_below(ANY_US)?,
        Moment::Create => {
            let folders = ["/run/orlop/containers", "/run/orlop/runtime"];
            appears(&folders, |_| true, random_below(2)?)?;
        }
        Moment::Apply => {
            // Staged, in force, at its place.
            let folders = ["/etc/orlop", "/etc/orlop/units"];
            let ours = |name: &str| name.starts_with("apply.") || name.ends_with(".toml");
            appears(&folders, ours, random_below(3)?)?;
        }
        Moment::Exit => wait_for_exit()?,
        Moment::Gap => {
            while writers()?.is_empty() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let met = Instant::now();
    sleep_below(WAIT_US)?;
    Ok(met)
}

/// Waits until something has appeared in `folders` that is `wanted`, and
/// `others` such things before it.
fn appears(folders: &[&str], wanted: impl Fn(&str) -> bool, others: u32) -> Result<()> {
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    for folder in folders {
        std::fs::create_dir_all(folder)?;
        inotify::add_watch(&watch, *folder, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    }
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut left = others;
    loop {
        let event = reader.next()?;
        let name = event.file_name().map(|name| name.to_string_lossy());
        if !name.is_some_and(|name| wanted(&name)) {
            continue;
        }
        if left == 0 {
            return Ok(());
        }
        left -= 1;
    }
}

/// Waits until a process of a container ends.
fn wait_for_exit() -> Result<()> {
    let mut watched: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    loop {
        for pid in processes() {
            // One that is gone already is not there to be watched.
            if let Some(handle) = Pid::from_raw(pid)
                .filter(|_| !watched.contains_key(&pid))
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            {
                watched.insert(pid, handle);
            }
        }
        let mut handles: Vec<PollFd<'_>> = watched
            .values()
            .map(|handle| PollFd::new(handle, PollFlags::IN))
            .collect();
        // New ones are looked for again and again.
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        if poll(&mut handles, Some(&limit))? > 0 {
            return Ok(());
        }
    }
}

/// The containers' processes.
fn processes() -> Vec<i32> {
    let units = std::fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    units.flat_map(|unit| processes_in(&unit.path())).collect()
}

fn processes_in(cgroup: &Path) -> Vec<i32> {
    let list = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The volumes of the writers that live: each is called as its unit is.
fn writers() -> Result<Vec<PathBuf>> {
    let mut living = Vec::new();
    for volume in std::fs::read_dir(VOLUMES).into_iter().flatten() {
        let volume = volume?;
        let writes = |pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "writer")
        };
        let cgroup = Path::new(CGROUPS).join(volume.file_name());
        if processes_in(&cgroup).iter().any(writes) {
            living.push(volume.path());
        }
    }
    Ok(living)
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
