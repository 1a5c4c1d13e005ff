//! A boot on trial, as pure values: who runs, whether there is a way back, and which names on the
//! ESP say what was decided.
//!
//! FAT is fragile: power that goes during a rename can leave both names, or the file under an 8.3
//! name (`ORLOP_~1.EFI`), which has no counter. So the state partition has a [`Record`], and where
//! that speaks of the install that runs, it is believed and not the name:
//!
//! | record       | own name      | standing                                           |
//! |--------------|---------------|----------------------------------------------------|
//! | trying       | any           | [`Standing::Trial`]                                |
//! | blessed      | any           | [`Standing::Blessed`]; a name with a counter loses it |
//! | failed       | any           | [`Standing::Failed`]: back, without another trial  |
//! | of another   | with counter  | [`Standing::Trial`]                                |
//! | or none      | without       | [`Standing::Good`]                                 |
//!
//! Two names may lead to the same clusters after a torn rename. To remove one of them, or to rename
//! over it, would free what the other leads to; so no name is ever removed or replaced here. What is
//! left over sorts behind and does no harm.

use crate::counted::left;
use crate::entry::{BootEntry, Tries};

/// How a trial stands, as it was put on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is to be tried, or being tried.
    Trying,
    /// It was found good.
    Blessed,
    /// It was not.
    Failed,
}

/// What the state partition has of the last install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The install.
    pub serial: u32,
    /// Its version.
    pub version: String,
    /// Its root hash, 64 hexadecimal digits.
    pub root: String,
    /// How its trial stands.
    pub outcome: Outcome,
}

/// A file in `EFI/Linux`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The file's name.
    pub name: String,
    /// The root hash that it leads to; `None` when that cannot be read.
    pub root: Option<String>,
}

impl Installed {
    /// What the name says; `None` when it is none of ours, as an 8.3 name is.
    pub fn entry(&self) -> Option<BootEntry> {
        self.name.parse().ok()
    }

    /// Whether the boot loader takes it for good, and it can be one.
    pub(crate) fn is_good(&self) -> bool {
        self.root.is_some() && self.entry().is_some_and(|entry| entry.tries.is_none())
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The file name that the boot loader says it started; `None` without a boot loader.
    pub entry: Option<String>,
    /// The version, from the root.
    pub version: String,
    /// The root hash.
    pub root: String,
}

impl Running {
    /// Which install runs, by the boot loader's word, else by the record's; `None` without a boot
    /// loader, and when nobody knows.
    pub fn serial(&self, record: Option<&Record>) -> Option<u32> {
        let name = self.entry.as_deref()?;
        match name.parse::<BootEntry>() {
            Ok(entry) => Some(entry.serial),
            Err(_) => record
                .filter(|record| record.root == self.root)
                .map(|record| record.serial),
        }
    }
}

/// What is to be done about the install that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: no boot loader started it, or no name and no record speaks of a trial.
    Good,
    /// The gate is to decide.
    Trial {
        /// The install.
        serial: u32,
    },
    /// The gate has passed; the name may not say so yet.
    Blessed {
        /// The install.
        serial: u32,
    },
    /// The gate has failed: back to another install.
    Failed {
        /// The install.
        serial: u32,
    },
}

/// A file that is to have another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The name that it has.
    pub from: String,
    /// The name that it gets, which no file has.
    pub to: String,
}

/// Who runs: see the table above.
pub fn standing(running: &Running, installed: &[Installed], record: Option<&Record>) -> Standing {
    let Some(serial) = running.serial(record) else {
        return Standing::Good;
    };
    let about = record.filter(|record| record.serial == serial && record.root == running.root);
    match about.map(|record| record.outcome) {
        Some(Outcome::Trying) => Standing::Trial { serial },
        Some(Outcome::Blessed) => Standing::Blessed { serial },
        Some(Outcome::Failed) => Standing::Failed { serial },
        None => {
            let own: Vec<BootEntry> = installed
                .iter()
                .filter_map(Installed::entry)
                .filter(|entry| entry.serial == serial)
                .collect();
            let counted = own.iter().any(|entry| entry.tries.is_some());
            let plain = own.iter().any(|entry| entry.tries.is_none());
            match counted && !plain {
                true => Standing::Trial { serial },
                false => Standing::Good,
            }
        }
    }
}

/// The good entry that is started when `serial` is not, the newest of them.
pub fn fallback(serial: u32, installed: &[Installed]) -> Option<BootEntry> {
    let others = installed.iter().filter(|file| file.is_good());
    others
        .filter_map(Installed::entry)
        .filter(|entry| entry.serial != serial)
        .max_by_key(|entry| entry.serial)
}

/// What blesses `serial`: one of its names loses the counter. Nothing when one has none already.
pub fn bless(serial: u32, running: &Running, installed: &[Installed]) -> Option<Rename> {
    let own = own(serial, running, installed);
    let good = |name: &str| name.parse::<BootEntry>().is_ok_and(|e| e.tries.is_none());
    if own.iter().any(|(name, _)| good(name)) {
        return None;
    }
    let (from, entry) = own.into_iter().next()?;
    free_name(&entry, None, installed).map(|to| Rename { from, to })
}

/// What marks `serial` as bad: each of its names that the boot loader would still try gets a counter
/// without tries left.
pub fn reject(serial: u32, running: &Running, installed: &[Installed]) -> Vec<Rename> {
    let mut names = installed.to_vec();
    let mut renames = Vec::new();
    for (from, entry) in own(serial, running, installed) {
        // An 8.3 name has no counter, whatever its entry is to be.
        if from.parse::<BootEntry>().is_ok_and(|entry| entry.is_bad()) {
            continue;
        }
        let done = entry.tries.map_or(0, |tries| tries.done);
        let Some(to) = free_name(&entry, Some(done), &names) else {
            continue;
        };
        let to_be = Installed {
            name: to.clone(),
            root: None,
        };
        names.push(to_be);
        renames.push(Rename { from, to });
    }
    renames
}

/// Whether reboots will lead away from `serial`, to another install: none of its names is tried for
/// ever. A machine that reboots for anything else does so without end. `counted` is the name that the
/// boot loader gave its entry when it counted this start; none when it did not.
pub fn leaves(
    serial: u32,
    running: &Running,
    counted: Option<&str>,
    installed: &[Installed],
) -> bool {
    let started = running.entry.as_deref().and_then(|name| name.parse().ok());
    let is_counted = left(started.as_ref(), counted).is_ok();
    let endless = |(name, _): &(String, BootEntry)| match name.parse::<BootEntry>() {
        Ok(entry) => match entry.tries {
            None => true,
            // It could not be marked, and is started until it has been counted down.
            Some(tries) => tries.left > 0 && !is_counted,
        },
        // Without a counter, but behind every good entry of ours.
        Err(_) => false,
    };
    fallback(serial, installed).is_some() && !own(serial, running, installed).iter().any(endless)
}

/// The install that waits for its first boot: it is newer than `serial`, which runs, and the boot
/// loader is to try it and never has.
pub fn waiting(serial: u32, installed: &[Installed]) -> Option<BootEntry> {
    let entries = installed.iter().filter_map(Installed::entry);
    entries
        .filter(|entry| entry.serial > serial)
        .filter(|entry| matches!(entry.tries, Some(Tries { left: 1.., done: 0 })))
        .max_by_key(|entry| entry.serial)
}

/// The newest install that is out of tries, used some, and is newer than `serial`, which runs: it was
/// tried, and did not come up. (One that was given up by hand has used none.)
pub fn given_up(serial: u32, installed: &[Installed]) -> Option<BootEntry> {
    let entries = installed.iter().filter_map(Installed::entry);
    entries
        .filter(|entry| entry.serial > serial && entry.is_bad())
        .filter(|entry| entry.tries.is_some_and(|tries| tries.done > 0))
        .max_by_key(|entry| entry.serial)
}

/// The files of `serial`, with the entries that they are, or are to be. An 8.3 name is taken for its
/// own only when it has no other, and leads where no good entry does.
fn own(serial: u32, running: &Running, installed: &[Installed]) -> Vec<(String, BootEntry)> {
    let named = |file: &Installed| {
        let entry = file.entry().filter(|entry| entry.serial == serial)?;
        Some((file.name.clone(), entry))
    };
    let known: Vec<_> = installed.iter().filter_map(named).collect();
    let runs = |file: &Installed| file.root.as_deref() == Some(running.root.as_str());
    let shared = installed.iter().any(|file| file.is_good() && runs(file));
    if !known.is_empty() || shared {
        return known;
    }
    let lost = |file: &&Installed| runs(file) && file.entry().is_none();
    let entry = BootEntry {
        serial,
        version: running.version.clone(),
        tries: None,
    };
    let lost = installed.iter().filter(lost);
    lost.map(|file| (file.name.clone(), entry.clone()))
        .collect()
}

/// `entry` with no counter, or with one that has no tries left and at least `done` made, under a
/// name that nobody has. FAT knows no case.
fn free_name(entry: &BootEntry, done: Option<u32>, installed: &[Installed]) -> Option<String> {
    let taken = |name: &String| {
        let same = |file: &Installed| file.name.eq_ignore_ascii_case(name);
        installed.iter().any(same)
    };
    let with = |tries| {
        let entry = entry.clone();
        BootEntry { tries, ..entry }.to_string()
    };
    match done {
        None => Some(with(None)).filter(|name| !taken(name)),
        Some(done) => {
            let more = (done..=u32::MAX).take(installed.len() + 1);
            more.map(|done| with(Some(Tries { left: 0, done })))
                .find(|name| !taken(name))
        }
    }
}

#[cfg(test)]
mod tests;
