//! Which host ids a unit's container gets: a range of its own, recorded, and
//! its own for as long as what it wrote is there.

use std::collections::BTreeMap;
use std::io::Result;
use std::path::PathBuf;

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
    bases: BTreeMap<String, u32>,
}

impl Ranges {
    /// Reads the record; none yet is an empty one.
    pub fn open(file: PathBuf) -> Result<Ranges> {
        let bases = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Ranges { file, bases })
    }

    /// The first id of the unit's range, recorded when this returns.
    pub fn reserve(&mut self, unit: &str) -> Result<u32> {
        if let Some(base) = self.bases.get(unit) {
            return Ok(*base);
        }
        let base = (0..RANGES)
            .map(|range| FIRST + range * COUNT)
            .find(|base| !self.bases.values().any(|taken| taken == base))
            .ok_or_else(|| std::io::Error::other("all id ranges are in use; remove units"))?;
        self.bases.insert(unit.to_owned(), base);
        if let Err(error) = self.save() {
            self.bases.remove(unit);
            return Err(error);
        }
        Ok(base)
    }

    /// The units that have a range: those that what they wrote may be there of.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        self.bases.keys().map(String::as_str)
    }

    /// Gives a unit's range back, once what it wrote is gone.
    pub fn release(&mut self, unit: &str) -> Result<()> {
        match self.bases.remove(unit) {
            Some(_) => self.save(),
            None => Ok(()),
        }
    }

    fn save(&self) -> Result<()> {
        if let Some(parent) = self.file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let bytes = serde_json::to_vec(&self.bases)?;
        crate::durable::replace(&self.file, &bytes, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_kept_over_restarts_and_never_shared() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ids.json");
        let mut ranges = Ranges::open(file.clone()).unwrap();
        assert_eq!(ranges.reserve("a").unwrap(), FIRST);
        assert_eq!(ranges.reserve("b").unwrap(), FIRST + COUNT);
        let mut ranges = Ranges::open(file).unwrap();
        assert_eq!(ranges.reserve("b").unwrap(), FIRST + COUNT);
        ranges.release("a").unwrap();
        assert_eq!(ranges.reserve("c").unwrap(), FIRST);
    }
}
