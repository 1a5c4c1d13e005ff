//! The gate: whether the containers of a host image on trial are well enough to keep it.
//!
//! Purely: units as they are seen come in, with the time; what they come to goes out. A unit has to
//! be well without a break for the settling time, and all of them before the deadline. The deadline
//! alone fails a trial: whatever stands in a unit's way, somebody may still mend it until then.

use std::collections::BTreeMap;

/// When a trial is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long each unit has to be well, in milliseconds.
    pub settle_ms: u64,
    /// Until when, in milliseconds of the boot clock.
    pub deadline_ms: u64,
}

/// What a unit's file says of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It has `gate = true`: where such units are, they alone decide.
    Gate,
    /// It has not.
    Plain,
    /// It cannot be read. A unit that the version on trial does not understand is what a trial is
    /// to find, and this may be one with `gate = true`: it counts in any case.
    Unknown,
}

/// How a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs, and is healthy where it has a check.
    Well,
    /// It ended with success, and its restart policy leaves it at that.
    Done,
    /// It is on its way to be well: it starts, or waits, or was not asked yet.
    Coming(String),
    /// None of these, for this reason.
    Unwell(String),
}

/// A unit that is to run, as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// What its file says of the gate.
    pub part: Part,
    /// Its container, by a name that no other has: another one has to settle anew.
    pub container: String,
    /// How it is.
    pub condition: Condition,
}

/// Why a trial failed, or what it still waits for: a unit, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The unit's name.
    pub unit: String,
    /// What is wrong with it, for a person.
    pub reason: String,
}

/// Since when a unit is well, and with which container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    at_ms: u64,
    container: String,
}

/// How far a trial is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is not decided.
    Waiting {
        /// When it was begun to look; with no unit at all this has to settle.
        begun_ms: u64,
        /// Since when those units are well that are.
        well: BTreeMap<String, Since>,
        /// How those were last unwell that were: more than that one starts again.
        ill: BTreeMap<String, String>,
    },
    /// All were well for long enough.
    Passed,
    /// The deadline has passed, and these were not.
    Failed(Vec<Blame>),
}

impl Gate {
    /// Begins to look at `now_ms` of the boot clock.
    pub fn new(now_ms: u64) -> Gate {
        Gate::Waiting {
            begun_ms: now_ms,
            well: BTreeMap::new(),
            ill: BTreeMap::new(),
        }
    }

    /// What the gate comes to with `units` as they are at `now_ms`. What is decided stays so.
    #[must_use]
    pub fn step(self, units: &[Watched], now_ms: u64, limits: Limits) -> Gate {
        match self {
            Gate::Passed => Gate::Passed,
            Gate::Failed(blames) => Gate::Failed(blames),
            Gate::Waiting {
                begun_ms,
                well,
                mut ill,
            } => {
                let counted = counted(units);
                let well = still_well(&counted, &well, now_ms);
                let settled = |at_ms: u64| now_ms.saturating_sub(at_ms) >= limits.settle_ms;
                let all = counted
                    .iter()
                    .all(|unit| well.get(&unit.name).is_some_and(|s| settled(s.at_ms)));
                if all && settled(begun_ms) {
                    return Gate::Passed;
                }
                ill.extend(units.iter().filter_map(illness));
                let waiting = Gate::Waiting {
                    begun_ms,
                    well,
                    ill,
                };
                if now_ms < limits.deadline_ms {
                    return waiting;
                }
                Gate::Failed(waiting.waits_for(units, now_ms, limits))
            }
        }
    }

    /// The units that it waits for; none once it is decided.
    pub fn waits_for(&self, units: &[Watched], now_ms: u64, limits: Limits) -> Vec<Blame> {
        let (well, ill) = match self {
            Gate::Waiting {
                begun_ms: _,
                well,
                ill,
            } => (well, ill),
            Gate::Passed | Gate::Failed(_) => return Vec::new(),
        };
        let blame = |unit: &&Watched| {
            let reason = match (verdict(unit), well.get(&unit.name)) {
                (Err(reason), _) => reason,
                (Ok(()), since) => {
                    let for_ms = since.map_or(0, |since| now_ms.saturating_sub(since.at_ms));
                    if for_ms >= limits.settle_ms {
                        return None;
                    }
                    let (for_s, of_s) = (for_ms / 1000, limits.settle_ms.div_ceil(1000));
                    format!("well for {for_s} s of the {of_s} s that it has to be")
                }
            };
            let before = ill.get(&unit.name).filter(|before| **before != reason);
            let reason = match before {
                Some(before) => format!("{reason}; before: {before}"),
                None => reason,
            };
            let unit = unit.name.clone();
            Some(Blame { unit, reason })
        };
        counted(units).iter().filter_map(blame).collect()
    }
}

/// The units that decide.
fn counted(units: &[Watched]) -> Vec<&Watched> {
    let gated = units.iter().any(|unit| match unit.part {
        Part::Gate => true,
        Part::Plain | Part::Unknown => false,
    });
    let counts = |unit: &&Watched| match unit.part {
        Part::Gate | Part::Unknown => true,
        Part::Plain => !gated,
    };
    units.iter().filter(counts).collect()
}

/// Whether a unit that counts is as it has to be, or why not.
fn verdict(unit: &Watched) -> Result<(), String> {
    match (unit.part, &unit.condition) {
        (Part::Gate | Part::Plain | Part::Unknown, Condition::Well)
        | (Part::Plain, Condition::Done) => Ok(()),
        // Its check is what the gate is about, and nothing is there to be checked.
        (Part::Gate | Part::Unknown, Condition::Done) => {
            Err("it ended, and `gate = true` asks for one that runs and is healthy".to_owned())
        }
        (
            Part::Gate | Part::Plain | Part::Unknown,
            Condition::Coming(reason) | Condition::Unwell(reason),
        ) => Err(reason.clone()),
    }
}

/// What ails a unit.
fn illness(unit: &Watched) -> Option<(String, String)> {
    match &unit.condition {
        Condition::Unwell(reason) => Some((unit.name.clone(), reason.clone())),
        Condition::Well | Condition::Done | Condition::Coming(_) => None,
    }
}

fn still_well(
    counted: &[&Watched],
    before: &BTreeMap<String, Since>,
    now_ms: u64,
) -> BTreeMap<String, Since> {
    let well = counted.iter().filter(|unit| verdict(unit).is_ok());
    well.map(|unit| {
        let known = before.get(&unit.name);
        let same = known.filter(|since| since.container == unit.container);
        let since = same.cloned().unwrap_or_else(|| Since {
            at_ms: now_ms,
            container: unit.container.clone(),
        });
        (unit.name.clone(), since)
    })
    .collect()
}

#[cfg(test)]
mod tests;
