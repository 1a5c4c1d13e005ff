//! Which host ids a unit's container gets: a range of its own, recorded, and
//! its own for as long as what it wrote is there.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The first host id that is given out.
pub const FIRST: u32 = 524_288;
/// How many ids a container has.
pub const COUNT: u32 = 65_536;
/// How many ranges there are.
const RANGES: u32 = (u32::MAX - FIRST) / COUNT;

/// The ranges in use, by unit.
#[derive(Debug)]
pub struct Ranges {
    file: PathBuf,
    /// Or why the record cannot be read.
    bases: std::result::Result<BTreeMap<String, u32>, String>,
}

impl Ranges {
    /// Reads the record; none yet is an empty one. One that cannot be read is
    /// tried again whenever a range is asked for.
    pub fn open(file: PathBuf) -> Ranges {
        let bases = read(&file);
        Ranges { file, bases }
    }

    /// Why there are no ranges to be had, if so.
    pub fn problem(&self) -> Option<&str> {
        self.bases.as_ref().err().map(String::as_str)
    }

    fn known(&mut self) -> Result<(&mut BTreeMap<String, u32>, &Path)> {
        if self.bases.is_err() {
            self.bases = read(&self.file);
        }
        match &mut self.bases {
            Ok(bases) => Ok((bases, &self.file)),
            Err(problem) => Err(Error::other(problem.clone())),
        }
    }

    /// The first id of the unit's range, recorded when this returns.
    pub fn reserve(&mut self, unit: &str) -> Result<u32> {
        let (bases, file) = self.known()?;
        if let Some(base) = bases.get(unit) {
            return Ok(*base);
        }
        let base = (0..RANGES)
            .map(|range| FIRST + range * COUNT)
            .find(|base| !bases.values().any(|taken| taken == base))
            .ok_or_else(|| Error::other("all id ranges are in use; remove units"))?;
        bases.insert(unit.to_owned(), base);
        if let Err(error) = save(file, bases) {
            bases.remove(unit);
            return Err(error);
        }
        Ok(base)
    }

    /// The units that have a range, as far as that is known: those that what
    /// they wrote may be there of.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        let bases = self.bases.iter();
        bases.flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Whether the unit may have a range.
    pub fn may_hold(&self, unit: &str) -> bool {
        match &self.bases {
            Ok(bases) => bases.contains_key(unit),
            Err(_) => true,
        }
    }

    /// Gives a unit's range back, once what it wrote is gone.
    pub fn release(&mut self, unit: &str) -> Result<()> {
        let (bases, file) = self.known()?;
        match bases.remove(unit) {
            Some(_) => save(file, bases),
            None => Ok(()),
        }
    }
}

fn read(file: &Path) -> std::result::Result<BTreeMap<String, u32>, String> {
    let bases = match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(Error::other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    };
    bases.map_err(|error| {
        format!(
            "no container can be made: {}, the record of their user ids, cannot be read: {error}",
            file.display()
        )
    })
}

fn save(file: &Path, bases: &BTreeMap<String, u32>) -> Result<()> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let bytes = serde_json::to_vec(bases)?;
    crate::durable::replace(file, &bytes, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_kept_over_restarts_and_never_shared() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ids.json");
        let mut ranges = Ranges::open(file.clone());
        assert_eq!(ranges.reserve("a").unwrap(), FIRST);
        assert_eq!(ranges.reserve("b").unwrap(), FIRST + COUNT);
        let mut ranges = Ranges::open(file);
        assert_eq!(ranges.reserve("b").unwrap(), FIRST + COUNT);
        ranges.release("a").unwrap();
        assert_eq!(ranges.reserve("c").unwrap(), FIRST);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_kept_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ids.json");
        std::fs::write(&file, "{").unwrap();
        let mut ranges = Ranges::open(file.clone());
        assert!(ranges.problem().unwrap().contains("ids.json"));
        assert!(ranges.reserve("a").is_err() && ranges.release("a").is_err());
        assert!(ranges.may_hold("a"), "what it wrote is not for deletion");
        assert_eq!(std::fs::read(&file).unwrap(), b"{");
        std::fs::write(&file, format!("{{\"a\":{}}}", FIRST + COUNT)).unwrap();
        assert_eq!(ranges.reserve("a").unwrap(), FIRST + COUNT);
        assert_eq!(ranges.problem(), None);
    }
}
