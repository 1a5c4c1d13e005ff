//! Whether the state partition has the record of a trial by ext4's own rules: what its tools find
//! there once power has gone and the journal was replayed.
//!
//! That the record's words were written and something was flushed after them is not enough: without
//! the journal's commit no name leads to them.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use orlop_crash::{Disk, Recorded, SECTOR, State, Trace, View};
use orlop_slot::Partition;

/// Where the record is on the state partition.
const RECORD: &str = "/var/lib/orlop/update/trial.json";

/// The record with these `words` lasts before the new version can boot, and not without the flush
/// that makes it last: that is found.
pub(super) fn lasts(trace: &Trace, disk: &Disk, found: Recorded, words: &[&str]) -> Result<()> {
    let has = |trace: &Trace, events| {
        let record = record_of(trace, disk, events)?;
        Ok::<_, anyhow::Error>(words.iter().all(|word| record.contains(word)))
    };
    ensure!(
        has(trace, last_flush(trace, found.bootable))?,
        "the new version boots from event {} on, and by what was flushed before that {RECORD} is not \
         its record",
        found.bootable
    );
    let between = found.write..found.bootable;
    let flushes = trace.flushes().iter().copied();
    let mut carrying = None;
    for flush in flushes.filter(|flush| between.contains(flush)) {
        if has(trace, flush + 1)? {
            carrying = Some(flush);
            break;
        }
    }
    let carrying = carrying.context("no flush makes the record last")?;
    eprintln!(
        "power cuts: the record is written by event {}, lasts from {carrying} on, and the new version \
         boots from {} on",
        found.write, found.bootable
    );
    let without = trace.without_any_flush_between(carrying, found.bootable);
    ensure!(
        !has(&without, last_flush(&without, carrying + 1))?,
        "without flush {carrying}, and those after it, the record lasts all the same"
    );
    ensure!(
        !has(trace, found.write + 1)?,
        "the words of the record are taken for the record"
    );
    Ok(())
}

/// The events that last when power goes before event `events`.
fn last_flush(trace: &Trace, events: usize) -> usize {
    let before = trace.flushes().iter().filter(|flush| **flush < events);
    before.max().map_or(0, |flush| flush + 1)
}

/// The record on the disk after the first `events` events; empty when there is none.
fn record_of(trace: &Trace, disk: &Disk, events: usize) -> Result<String> {
    let mut view = View::new(disk, trace);
    view.enter(State::Prefix { events });
    let beside = disk.path().parent().context("a disk without a folder")?;
    let state = tempfile::NamedTempFile::new_in(beside)?;
    copy_state(&view, state.as_file())?;
    let checked = run("e2fsck", &["-fy"], state.path())?;
    // 1 is what was mended, as a journal that was replayed is.
    ensure!(
        matches!(checked.status.code(), Some(0 | 1)),
        "e2fsck: {checked:?}"
    );
    let read = run("debugfs", &["-R", &format!("cat {RECORD}")], state.path())?;
    Ok(String::from_utf8_lossy(&read.stdout).into_owned())
}

/// Copies the state partition; what has zeros only stays a hole.
fn copy_state(view: &View<'_>, target: &std::fs::File) -> Result<()> {
    let sectors = view.disk().partition(Partition::State);
    let (start, size) = (
        sectors.start * SECTOR,
        (sectors.end - sectors.start) * SECTOR,
    );
    target.set_len(size)?;
    let (mut piece, zeros) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..size).step_by(piece.len()) {
        let length = usize::try_from(size - at).map_or(piece.len(), |left| left.min(piece.len()));
        let piece = &mut piece[..length];
        view.read(piece, start + at)?;
        if *piece != zeros[..length] {
            target.write_all_at(piece, at)?;
        }
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str], file: &Path) -> Result<std::process::Output> {
    Command::new(format!("/sbin/{program}"))
        .args(arguments)
        .arg(file)
        .output()
        .with_context(|| format!("cannot run {program}: is the package e2fsprogs installed?"))
}
