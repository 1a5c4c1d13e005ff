//! Which version boots from a disk in one of its states, and whether it is whole.
//!
//! From the firmware on: the partition table is whole, or its backup; the ESP is a FAT volume on
//! which the boot loader and its files are as they were; the entry that systemd-boot starts is the
//! whole image of one of the two versions; PID 1 finds a slot for that image's root hash, and each
//! block of that slot is right. When the entry has a counter, that is asked of the next one, too,
//! down to one without: once the tries are used up the other version has to come up.

use std::collections::HashMap;
use std::fmt;

use orlop_fat::FatError;
use orlop_slot::{Partition, Slot};

use crate::disk::Area;
use crate::esp::{Contents, Esp};
use crate::plan::{self, Loader, Plan, Start};
use crate::slot::{Fit, Slots};
use crate::table::{self, Found, TableError};
use crate::uki::{Digest, UkiError, Version};
use crate::view::View;

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// The one that ran.
    Old,
    /// The one that was installed.
    New,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Old => "old",
            Which::New => "new",
        })
    }
}

/// The two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The one that ran while the trace was recorded, or that a rollback leads to.
    pub old: Version,
    /// The one that an update leads to.
    pub new: Version,
}

impl Known {
    pub(crate) fn which(&self, uki: &Digest) -> Option<Which> {
        let is = |version: &Version| version.uki == *uki;
        match (is(&self.old), is(&self.new)) {
            (true, _) => Some(Which::Old),
            (_, true) => Some(Which::New),
            _ => None,
        }
    }

    fn root(&self, which: Which) -> &[u8; 32] {
        match which {
            Which::Old => &self.old.root,
            Which::New => &self.new.root,
        }
    }
}

/// What comes of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It boots.
    Boots {
        /// Which version.
        version: Which,
        /// From which slot.
        slot: Slot,
        /// By which file in `EFI/Linux`.
        entry: String,
        /// Whether that is counted, and gives way to the other version.
        on_trial: bool,
        /// An image that is not started now and leads to no whole root: nothing breaks as long as
        /// it is not, but a half-written slot is to have none.
        dangling: Option<String>,
    },
    /// It does not, or what boots is not whole.
    Broken {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Boots {
                version,
                slot,
                entry,
                on_trial,
                dangling,
            } => {
                write!(f, "boots the {version} version from slot {slot} by {entry}")?;
                if *on_trial {
                    write!(f, ", on trial")?;
                }
                match dangling {
                    Some(name) => write!(f, "; {name} leads to no whole root"),
                    None => Ok(()),
                }
            }
            Verdict::Broken { why } => write!(f, "broken: {why}"),
        }
    }
}

/// A disk that no state can be compared with, as it is not whole to begin with.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Its boot partition.
    #[error("the disk before the trace: {0}")]
    Fat(#[from] FatError),
    /// Its partition table.
    #[error("the disk before the trace: {0}")]
    Table(#[from] TableError),
    /// An image on it.
    #[error("the disk before the trace: EFI/Linux/{name}: {error}")]
    Uki {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        error: UkiError,
    },
}

/// The images in `EFI/Linux` in this state, and the versions that they are: for finding out what
/// is old and what is new, from a disk before and after an update.
///
/// # Errors
/// One of them is no whole image.
pub fn versions(view: &View<'_>) -> Result<Vec<(String, Version)>, BaseError> {
    let esp = Esp::open(view)?;
    let mut found = Vec::new();
    for entry in esp.images()? {
        let content = esp.read(&entry)?;
        let name = entry.name;
        match Version::of_uki(&content) {
            Ok(version) => found.push((name, version)),
            Err(error) => return Err(BaseError::Uki { name, error }),
        }
    }
    Ok(found)
}

/// Checks states of one disk, and keeps what it has found out.
pub struct Checker {
    known: Known,
    table: Vec<Found>,
    loader: Loader,
    tables: HashMap<u64, Result<(), String>>,
    plans: HashMap<u64, Plan>,
    contents: Contents,
    slots: Slots,
}

impl Checker {
    /// Checks against the disk before the trace: `view` as it is made.
    ///
    /// # Errors
    /// That disk does not have what a disk of ours has.
    pub fn new(view: &View<'_>, known: Known) -> Result<Checker, BaseError> {
        let mut contents = Contents::new();
        let loader = plan::loader(&Esp::open(view)?, &mut contents)?;
        Ok(Checker {
            known,
            table: fixed(table::read(view)?),
            loader,
            tables: HashMap::new(),
            plans: HashMap::new(),
            contents,
            slots: Slots::default(),
        })
    }

    /// Which version boots.
    pub fn check(&mut self, view: &View<'_>) -> Verdict {
        self.boots(view)
            .unwrap_or_else(|why| Verdict::Broken { why })
    }

    fn boots(&mut self, view: &View<'_>) -> Result<Verdict, String> {
        self.table(view)?;
        let plan = self.plan(view)?;
        let mut first = None;
        for start in plan.starts {
            let slot = self.slot(view, &start)?;
            first.get_or_insert((start, slot));
        }
        let (start, slot) = first.ok_or("there is no entry to start")?;
        let mut dangles = |root: &[u8; 32]| {
            let mut fits = |slot| self.slots.fit(view, slot, root) == Fit::Whole;
            !fits(Slot::A) && !fits(Slot::B)
        };
        let dangling = plan.all.into_iter().find(|(_, root)| dangles(root));
        Ok(Verdict::Boots {
            version: start.which,
            slot,
            entry: start.name,
            on_trial: start.counted,
            dangling: dangling.map(|(name, _)| name),
        })
    }

    /// Whether the table, or its backup, leads where it led.
    fn table(&mut self, view: &View<'_>) -> Result<(), String> {
        let expected = &self.table;
        let judge = || match table::read(view) {
            Ok(found) if fixed(found.clone()) == *expected => Ok(()),
            Ok(_) => Err("the partition table has other partitions".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let print = view.print(Area::Table);
        self.tables.entry(print).or_insert_with(judge).clone()
    }

    fn plan(&mut self, view: &View<'_>) -> Plan {
        let (loader, known, contents) = (&self.loader, &self.known, &mut self.contents);
        let read = || plan::read(Esp::open(view), loader, known, contents);
        let print = view.print(Area::Esp);
        self.plans.entry(print).or_insert_with(read).clone()
    }

    /// The slot that PID 1 opens, if it is whole.
    fn slot(&mut self, view: &View<'_>, start: &Start) -> Result<Slot, String> {
        let root = *self.known.root(start.which);
        let mut reasons = Vec::new();
        for slot in [Slot::A, Slot::B] {
            match self.slots.fit(view, slot, &root) {
                Fit::Whole => return Ok(slot),
                Fit::Damaged(why) => {
                    return Err(format!("{} leads to slot {slot}: {why}", start.name));
                }
                Fit::Other(why) => reasons.push(format!("slot {slot}: {why}")),
            }
        }
        let reasons = reasons.join("; ");
        Err(format!("{} leads to no slot: {reasons}", start.name))
    }
}

/// What of a table no write may change: the state partition alone grows at first boot.
fn fixed(mut table: Vec<Found>) -> Vec<Found> {
    let state = Partition::State.label();
    for found in table.iter_mut().filter(|found| found.label == state) {
        found.sectors.end = found.sectors.start;
    }
    table
}
