//! Units whose file is gone, and units that an operator removed.
//!
//! A file that is gone may be back in a moment: editors, checkouts and
//! deployments delete before they write. So nothing happens at first, then the
//! unit is stopped, and what it wrote stays until an operator removes it.
//! Such a removal is marked on disk before the file goes, so that it is
//! finished whatever ends in between.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How long a file may be away without consequence, in milliseconds.
const GRACE_MS: u64 = 2_000;

/// How a unit fares without its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fileless {
    /// Since then; so far all goes on. Milliseconds of the boot clock.
    Since(u64),
    /// It is stopped.
    #[serde(rename_all = "camelCase")]
    Stopped {
        /// It runs again once its file is back.
        again: bool,
    },
}

impl Fileless {
    /// What it comes to, as its file is not there at `now`.
    pub(super) fn step(before: Option<Fileless>, wanted: bool, now: u64) -> Fileless {
        match before {
            None => Fileless::Since(now),
            Some(Fileless::Since(since)) if now < since.saturating_add(GRACE_MS) => {
                Fileless::Since(since)
            }
            Some(Fileless::Since(_)) => Fileless::Stopped { again: wanted },
            Some(stopped @ Fileless::Stopped { again: _ }) => stopped,
        }
    }

    /// When its file is to be looked for again.
    pub(super) fn due(self) -> Option<u64> {
        match self {
            Fileless::Since(since) => Some(since.saturating_add(GRACE_MS)),
            Fileless::Stopped { again: _ } => None,
        }
    }
}

/// The units that an operator removed and that are not gone yet.
#[derive(Debug)]
pub(super) struct Removed {
    dir: PathBuf,
    units: BTreeSet<String>,
}

impl Removed {
    /// Reads the marks in `dir`.
    pub(super) fn open(dir: PathBuf) -> Result<Removed> {
        std::fs::create_dir_all(&dir)?;
        let names = std::fs::read_dir(&dir)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        let units = names.into_iter().filter_map(|name| name.into_string().ok());
        let units = units.collect();
        Ok(Removed { dir, units })
    }

    /// Whether the unit is to go for good.
    pub(super) fn has(&self, unit: &str) -> bool {
        self.units.contains(unit)
    }

    /// Marks a unit, lastingly.
    pub(super) fn mark(&mut self, unit: &str) -> Result<()> {
        std::fs::write(self.dir.join(unit), [])?;
        self.units.insert(unit.to_owned());
        crate::durable::sync_dir(&self.dir)
    }

    /// Takes a unit's mark away: it is gone, or has a file again.
    pub(super) fn clear(&mut self, unit: &str) {
        if !self.units.remove(unit) {
            return;
        }
        let cleared = std::fs::remove_file(self.dir.join(unit));
        let cleared = cleared.and_then(|()| crate::durable::sync_dir(&self.dir));
        if let Err(error) = cleared
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!("the mark that {unit} is removed stays: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_away_for_a_moment_and_then_the_unit_is_stopped_once() {
        for wanted in [true, false] {
            let mut fileless = None;
            for now in [10, 11, 10 + GRACE_MS - 1] {
                fileless = Some(Fileless::step(fileless, wanted, now));
                assert_eq!(fileless, Some(Fileless::Since(10)), "{now}");
                assert_eq!(fileless.and_then(Fileless::due), Some(10 + GRACE_MS));
            }
            fileless = Some(Fileless::step(fileless, wanted, 10 + GRACE_MS));
            let stopped = Fileless::Stopped { again: wanted };
            assert_eq!(fileless, Some(stopped));
            assert_eq!(stopped.due(), None);
            // It is not wanted any more by then, but was.
            assert_eq!(Fileless::step(fileless, false, u64::MAX), stopped);
        }
    }

    #[test]
    fn a_removal_is_known_until_it_is_done() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("removed");
        let mut removed = Removed::open(dir.clone()).unwrap();
        assert!(!removed.has("web"));
        removed.mark("web").unwrap();
        removed.mark("db").unwrap();
        let mut removed = Removed::open(dir.clone()).unwrap();
        assert!(removed.has("web") && removed.has("db"));
        removed.clear("web");
        removed.clear("never");
        let removed = Removed::open(dir).unwrap();
        assert!(!removed.has("web") && removed.has("db"));
    }
}
