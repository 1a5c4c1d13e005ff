//! Power that goes at any write of an update, of its blessing and of a rollback.
//!
//! One real guest does all three while QEMU records what it writes. `orlop-crash`
//! makes the disk as it would be had power gone at any moment of that, and says
//! what boots of it; a few of these disks are booted for real.
//!
//! `cargo vm crash` sets how many states and boots there are.

mod record;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::{InstalledVersion, VersionState};
use orlop_crash::{
    Checker, Disk, Known, Report, State, Trace, Unrecorded, Verdict, Version, View, Which, log,
    run, states, versions,
};
use orlop_qemu::machine::{Config, copy_disk};
use orlop_slot::{Partition, Slot};

use super::trials::wait_good;
use super::updates;
use crate::esp_files;
use crate::fixture::{self, PATIENCE};

/// States that are not a prefix of the writes, unless [`STATES`] says otherwise.
const RANDOM: usize = 2000;
/// Where the number of random states is.
const STATES: &str = "ORLOP_CRASH_STATES";
/// And as many of a trace that is wrong, until that shows. Mostly it does among the first few; where
/// one write of few has to be lost in one epoch of many, it is one state in some three hundred.
const WRONG: [usize; 3] = [500, 4000, 16_000];
/// Disks that are booted, unless [`BOOTS`] says otherwise.
const REAL: usize = 5;
/// Where the number of boots is.
const BOOTS: &str = "ORLOP_CRASH_BOOTS";
/// Where another seed than this is.
const SEED: (&str, u64) = ("ORLOP_CRASH_SEED", 1);

fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> Result<T> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|_| anyhow::anyhow!("{variable}={text}: expected a number")),
        Err(_) => Ok(otherwise),
    }
}

/// Every state that power could leave boots the old version or the new one, whole.
pub(crate) fn every_write() -> Result<()> {
    let recorded = record()?;
    let disk = Disk::open(&recorded.before)?;
    let trace = log::read(&recorded.log)?;
    let (seed, random) = (number(SEED.0, SEED.1)?, number(STATES, RANDOM)?);
    let report = run(&trace, &disk, &recorded.known, seed, random)?;
    eprintln!("power cuts, seed {seed}: {report}");
    ensure!(report.broken == 0, "some do not boot: {report}");
    ensure!(
        report.dangling == 0,
        "some have an entry that leads nowhere: {report}"
    );
    ensure!(
        report.states >= random && report.old > 0 && report.new > 0 && report.new_uncounted > 0,
        "the trace is not that of an update, a blessing and a rollback: {report}"
    );
    is_recorded_first(&trace, &disk, &recorded.known)?;
    finds_what_is_wrong(&trace, &disk, &recorded.known, seed)?;
    some_flush_carries(&trace, &disk, &recorded.known, seed)?;
    boots_for_real(&recorded, &trace, &disk, seed)
}

/// What was recorded.
struct Recorded {
    before: PathBuf,
    log: PathBuf,
    known: Known,
    config: Config,
}

/// Has a guest update, keep the new version, and go back, and records its writes.
fn record() -> Result<Recorded> {
    let new = updates::good()?;
    let mut config = updates::disk("power-cuts")?;
    // Another one is in slot B, and has to give way.
    let other = updates::between()?;
    esp_files::install(&other.image, &config.disk, "orlop_2_1.5.0+0-1.efi")?;
    // The first boot, which grows the disk and makes the host's key, is not of this story.
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    guest.power_off(PATIENCE)?;
    let before = config.folder.join("before.img");
    copy_disk(&config.disk, &before)?;
    let log = config.folder.join("writes.log");
    config.log_writes = Some(log.clone());
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    let bundle = new.bundle.display().to_string();
    guest.operator().run(&["update", &bundle])?;
    guest.operator().run(&["rollback"])?;
    guest.power_off(PATIENCE)?;
    config.log_writes = None;
    Ok(Recorded {
        before,
        log,
        known: Known {
            old: version_of(&updates::old()?.image)?,
            new: version_of(&new.image)?,
        },
        config,
    })
}

/// The version on the disk as a factory would write it.
fn version_of(image: &Path) -> Result<Version> {
    let disk = Disk::open(image)?;
    let nothing = Trace::new(Vec::new(), std::sync::Arc::new(std::fs::File::open(image)?));
    let found = versions(&View::new(&disk, &nothing))?;
    let (_, version) = found
        .into_iter()
        .next()
        .context("an image without a version")?;
    Ok(version)
}

/// What the trace is made of.
struct Steps {
    /// What makes the version give way that was in slot B.
    removal: Range<usize>,
    /// What fills slot B.
    filling: Range<usize>,
    /// From there to the write that makes it bootable.
    naming: Range<usize>,
}

impl Steps {
    fn of(trace: &Trace, disk: &Disk, known: &Known) -> Result<Steps> {
        let touching = |partition| trace.touching(&disk.partition(partition));
        let slot = touching(Partition::Root(Slot::B));
        let first = *slot.first().context("nothing was written to slot B")?;
        let tree = touching(Partition::Verity(Slot::B));
        let last = *tree.last().context("no hash tree was written to slot B")?;
        let esp = touching(Partition::Esp);
        let removal = *esp
            .iter()
            .find(|event| **event < first)
            .context("nothing was removed from the boot partition")?;
        let mut view = View::new(disk, trace);
        let mut checker = Checker::new(&view, known.clone())?;
        let bootable = esp.iter().filter(|event| **event > last).find(|event| {
            view.enter(State::Prefix {
                events: **event + 1,
            });
            let boots = checker.check(&view);
            matches!(
                boots,
                Verdict::Boots {
                    version: Which::New,
                    ..
                }
            )
        });
        let bootable = bootable.context("the new version never boots")?;
        Ok(Steps {
            removal: removal..first,
            filling: first..last + 1,
            naming: last + 1..bootable + 1,
        })
    }
}

/// The record of the trial lasts before the new version can boot, and where it does not, that is
/// found: when the two steps are swapped, and when nothing is flushed between them.
fn is_recorded_first(trace: &Trace, disk: &Disk, known: &Known) -> Result<()> {
    let root: String = known.new.root.iter().map(|b| format!("{b:02x}")).collect();
    let words = [
        format!("\"root\": \"{root}\""),
        "\"outcome\": \"trying\"".to_owned(),
    ];
    let words = words.each_ref().map(String::as_str);
    let found = orlop_crash::recorded(trace, disk, known, &words)?;
    record::lasts(trace, disk, found, &words)?;
    let naming = found.flush + 1..found.bootable + 1;
    let late = trace.swapped(found.write..found.flush + 1, naming);
    let late = late.context("the record and the name overlap")?;
    let wrong = [
        ("the name before the record", late),
        (
            "no flush between the record and the name",
            trace.without_any_flush_between(found.write, found.bootable),
        ),
    ];
    for (what, trace) in wrong {
        match orlop_crash::recorded(&trace, disk, known, &words) {
            Err(Unrecorded::TooLate { .. } | Unrecorded::Unflushed { .. }) => {}
            Err(other) => return Err(other).context(what),
            Ok(found) => bail!("{what}, and nothing is wrong: {found:?}"),
        }
    }
    Ok(())
}

/// The same trace in an order that would be wrong is found to be so.
fn finds_what_is_wrong(trace: &Trace, disk: &Disk, known: &Known, seed: u64) -> Result<()> {
    let steps = Steps::of(trace, disk, known)?;
    let (removal, filling, naming) = (steps.removal, steps.filling, steps.naming);
    let all = trace.events().len();
    let without = |from, to| Some(trace.without_any_flush_between(from, to));
    let swapped = |a: &Range<usize>, b: &Range<usize>| trace.swapped(a.clone(), b.clone());
    let broken: fn(&Report) -> bool = |report| report.broken > 0;
    let astray: fn(&Report) -> bool = |report| report.broken + report.dangling > 0;
    let cases = [
        ("no flush at all", without(0, all), broken),
        (
            "no flush between the slot and its name",
            without(filling.start, naming.end),
            broken,
        ),
        (
            "the name before the slot",
            swapped(&filling, &naming),
            broken,
        ),
        (
            "no flush between the removal and the slot",
            without(removal.start, filling.end),
            astray,
        ),
        (
            "the slot before the removal",
            swapped(&removal, &filling),
            astray,
        ),
    ];
    for (what, trace, is_found) in cases {
        let trace = trace.with_context(|| format!("{what}: the steps overlap"))?;
        let mut reports = WRONG
            .iter()
            .map(|states| run(&trace, disk, known, seed, *states));
        let found = reports.find(|report| report.as_ref().map_or(true, is_found));
        found.with_context(|| format!("{what}, and nothing is wrong in {WRONG:?} states"))??;
    }
    Ok(())
}

/// Every flush of the install by itself: some carry the whole weight, others are covered by one that
/// follows at once.
fn some_flush_carries(trace: &Trace, disk: &Disk, known: &Known, seed: u64) -> Result<()> {
    let steps = Steps::of(trace, disk, known)?;
    let install = steps.removal.start..steps.naming.end;
    let all = trace.flushes().iter().copied();
    let all: Vec<usize> = all.filter(|flush| install.contains(flush)).collect();
    for states in WRONG {
        let mut carrying = 0;
        for flush in &all {
            let report = run(&trace.without_flush(*flush), disk, known, seed, states)?;
            carrying += usize::from(report.broken + report.dangling > 0);
        }
        eprintln!(
            "power cuts: without one of {} flushes of the install, {carrying} times it is wrong",
            all.len()
        );
        if carrying > 0 {
            return Ok(());
        }
    }
    bail!("no flush of {} is needed", all.len())
}

/// A sample of the disks: of those that reorder what was not flushed half, and of the others half,
/// from the removal on.
fn sample(trace: &Trace, disk: &Disk, known: &Known, seed: u64) -> Result<Vec<State>> {
    let boots = number(BOOTS, REAL)?;
    let steps = Steps::of(trace, disk, known)?;
    let events = |state: &State| match state {
        State::Prefix { events } | State::Torn { events, .. } | State::Subset { events, .. } => {
            *events
        }
    };
    let esp = disk.partition(Partition::Esp);
    let late = states(trace, &esp, seed, boots * 20).filter(|s| events(s) > steps.removal.start);
    let (mut mixed, mut plain): (Vec<State>, Vec<State>) =
        late.partition(|state| matches!(state, State::Subset { .. }));
    mixed.sort_by_key(events);
    plain.sort_by_key(events);
    let spread = |states: Vec<State>, count: usize| {
        // Of the middle of equal parts.
        let part = (states.len() / count.max(1)).max(1);
        states.into_iter().skip(part / 2).step_by(part).take(count)
    };
    let half = boots / 2;
    Ok(spread(mixed, boots - half)
        .chain(spread(plain, half))
        .collect())
}

/// A sample of the disks boots under the real firmware, boot loader and kernel, first what the model
/// says, and ends with its containers healthy and nobody to help.
fn boots_for_real(recorded: &Recorded, trace: &Trace, disk: &Disk, seed: u64) -> Result<()> {
    let mut view = View::new(disk, trace);
    let mut checker = Checker::new(&view, recorded.known.clone())?;
    for state in sample(trace, disk, &recorded.known, seed)? {
        view.enter(state);
        let Verdict::Boots { slot, .. } = checker.check(&view) else {
            bail!("{state} was found whole, and now is not");
        };
        let mut config = recorded.config.clone();
        config.disk = config.folder.join("state.img");
        view.write_to(&config.disk)?;
        boots_well(config, slot).with_context(|| format!("the disk of {state}, seed {seed:x}"))?;
        eprintln!("power cuts: {state} booted, slot {slot} first");
    }
    Ok(())
}

fn boots_well(config: Config, slot: Slot) -> Result<()> {
    let mut guest = fixture::boot(config)?;
    fixture::wait("a version that is good", || {
        let Ok(versions) = guest
            .operator()
            .json::<Vec<InstalledVersion>>(&["versions"])
        else {
            return Ok(false);
        };
        let good = |v: &InstalledVersion| v.running && v.state == VersionState::Good;
        Ok(versions.iter().any(good))
    })?;
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;
    let console = guest.console_text();
    let first = console.split_once("root: slot ").map(|(_, rest)| rest);
    ensure!(
        first.is_some_and(|rest| rest.starts_with(slot.as_str())),
        "expected slot {slot} to be started first:\n{console}"
    );
    guest.machine().cut_power()
}
