//! What is written when a trial is decided, in which order, and why in that order. What is written
//! before that, to install a version, is [`crate::install`]'s ([`crate::install::STEPS`]).
//!
//! Power may go between any two steps and within each. Whoever comes up next looks at the record and
//! the names ([`crate::trial::standing`]) and takes what is left of the same steps.
//!
//! Passed:
//!
//! 1. *The record says `blessed`*, flushed. First, as from then on no name can put the install on
//!    trial again: not the old name, not both, not an 8.3 name. Were the name first, power that went
//!    in its rename could leave a blessed install to be tried, and a later failure would send a
//!    good one back.
//! 2. *The name loses its counter*, flushed. The boot loader goes by names alone: with a counter it
//!    would give the install up after some boots.
//!
//! Failed:
//!
//! 1. *The report*, flushed: which version failed, why, and what its units wrote last. First, as
//!    after any of the following another version may come up, which has to know.
//! 2. *The record says `failed`*, flushed. If the boot loader starts the install once more (its name
//!    has tries left until step 3 is through), it goes on here and is not tried again.
//! 3. *Each name that would be tried gets `+0`*, flushed: the boot loader starts the other one.
//! 4. *Reboot*, in order. Last, and only if the names as they are now lead to another install.
//!
//! Failed, and there is no other good install: the report, and nothing else. Marked or not it is the
//! one that boots, and a reboot would only end what runs of it. The next boot tries it again.

use crate::trial::{self, Installed, Outcome, Rename, Running};

/// One step. Each is flushed before the next is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write down which version failed and why.
    Report,
    /// Put the trial's outcome on record.
    Record(Outcome),
    /// Rename a file in `EFI/Linux`.
    Rename(Rename),
    /// Reboot, if [`trial::leaves`] says so of the names as they are by then.
    Reboot,
}

/// The steps once the install `serial`, which runs, has passed the gate.
pub fn after_passing(serial: u32, running: &Running, installed: &[Installed]) -> Vec<Step> {
    let rename = trial::bless(serial, running, installed).map(Step::Rename);
    [Step::Record(Outcome::Blessed)]
        .into_iter()
        .chain(rename)
        .collect()
}

/// The steps once it has failed.
pub fn after_failing(serial: u32, running: &Running, installed: &[Installed]) -> Vec<Step> {
    if trial::fallback(serial, installed).is_none() {
        return vec![Step::Report];
    }
    let mut steps = vec![Step::Report, Step::Record(Outcome::Failed)];
    let renames = trial::reject(serial, running, installed);
    steps.extend(renames.into_iter().map(Step::Rename));
    steps.push(Step::Reboot);
    steps
}
