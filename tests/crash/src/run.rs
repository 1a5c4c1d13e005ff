//! All states of a trace, checked.

use std::collections::HashSet;
use std::fmt;
use std::io;

use orlop_slot::Partition;

use crate::check::{BaseError, Checker, Known, Verdict, Which};
use crate::disk::{Disk, DiskError};
use crate::state::State;
use crate::states::states;
use crate::trace::Trace;
use crate::view::View;

/// How many broken states a report names.
const NAMED_MAX: usize = 20;

/// Why the states could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk and the trace do not fit.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The disk was not whole to begin with.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The image or the log could not be read, so nothing is known of a state.
    #[error("{state}: reading the disk image or the log: {error}")]
    Read {
        /// Which state.
        state: State,
        /// What went wrong.
        error: io::Error,
    },
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many states were checked.
    pub states: usize,
    /// How many of them differ in what is on the disk.
    pub distinct_disks: usize,
    /// How many boot the old version.
    pub old: usize,
    /// How many boot the new one.
    pub new: usize,
    /// How many of those by an entry that is not counted.
    pub new_uncounted: usize,
    /// How many of all have an image beside the one that boots that leads to no whole root.
    pub dangling: usize,
    /// How many do not boot, or not whole.
    pub broken: usize,
    /// The first that are broken, at most twenty, and why.
    pub examples: Vec<(State, String)>,
    /// The first that have such an image, at most twenty, and its name.
    pub dangling_examples: Vec<(State, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (states, disks) = (self.states, self.distinct_disks);
        let (old, new, uncounted) = (self.old, self.new, self.new_uncounted);
        write!(
            f,
            "{states} states, {disks} disks: {old} boot the old version, {new} the new one"
        )?;
        write!(f, " ({uncounted} not on trial), {} are broken", self.broken)?;
        for (state, why) in &self.examples {
            write!(f, "\n  {state}: {why}")?;
        }
        if self.dangling > 0 {
            write!(f, "\n{} have an image that leads nowhere", self.dangling)?;
        }
        for (state, name) in &self.dangling_examples {
            write!(f, "\n  {state}: {name}")?;
        }
        Ok(())
    }
}

/// Checks every prefix of `trace`, its torn last writes, and `random` states more ([`states`]).
/// `disk` is as it was before the trace.
///
/// # Errors
/// Disk and trace do not belong together, or cannot be read. A state that does not boot is none.
pub fn run(
    trace: &Trace,
    disk: &Disk,
    known: &Known,
    seed: u64,
    random: usize,
) -> Result<Report, RunError> {
    disk.fits(trace)?;
    let mut view = View::new(disk, trace);
    let mut checker = Checker::new(&view, known.clone())?;
    let esp = disk.partition(Partition::Esp);
    let mut report = Report::default();
    let mut seen = HashSet::new();
    for state in states(trace, &esp, seed, random) {
        view.enter(state);
        let verdict = checker.check(&view);
        if let Some(error) = view.take_failure() {
            return Err(RunError::Read { state, error });
        }
        seen.insert(view.prints());
        report.add(state, verdict);
    }
    report.distinct_disks = seen.len();
    Ok(report)
}

impl Report {
    fn add(&mut self, state: State, verdict: Verdict) {
        self.states += 1;
        let (version, on_trial, dangling) = match verdict {
            Verdict::Boots {
                version,
                on_trial,
                dangling,
                ..
            } => (version, on_trial, dangling),
            Verdict::Broken { why } => {
                self.broken += 1;
                name(&mut self.examples, state, why);
                return;
            }
        };
        match version {
            Which::Old => self.old += 1,
            Which::New => {
                self.new += 1;
                self.new_uncounted += usize::from(!on_trial);
            }
        }
        if let Some(image) = dangling {
            self.dangling += 1;
            name(&mut self.dangling_examples, state, image);
        }
    }
}

fn name(examples: &mut Vec<(State, String)>, state: State, what: String) {
    if examples.len() < NAMED_MAX {
        examples.push((state, what));
    }
}
