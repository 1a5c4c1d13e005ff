//! The units and the configuration as the version that runs last had them when another was installed:
//! `/var/lib/orlop/update/before/`, with the root hash of that version.
//!
//! Whatever a newer version, or an operator for it, writes into `/etc/orlop` meanwhile, that version
//! may come up again and not understand it. It then goes by these files in place of the ones that it
//! rejects, and says so; the newer ones stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable::{read_bounded, replace, sync_dir};

/// The most files that are kept.
const FILES_MAX: usize = 1024;
/// The bytes that all of them may have.
const BYTES_MAX: u64 = 16 << 20;
/// The file with the root hash.
const ROOT: &str = "root";

/// The files.
#[derive(Debug, Clone)]
pub struct Before(PathBuf);

impl Before {
    /// The files in `update`, which is the directory of installs.
    pub fn new(update: &Path) -> Before {
        Before(update.join("before"))
    }

    /// Keeps what is in `etc` for the version with the root hash `root`, lastingly.
    ///
    /// # Errors
    /// The system's; more files than can be kept. What was kept before may be gone then.
    pub fn keep(&self, root: &str, etc: &Path) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        remove(&beside)?;
        fs::create_dir_all(beside.join("units"))?;
        let mut left = BYTES_MAX;
        let mut copy = |from: &Path, to: &Path| -> io::Result<()> {
            // What is no file, or has gone meanwhile, is nothing that a version could go by.
            let Ok(bytes) = read_bounded(from, orlop_unit::MAX_FILE_BYTES) else {
                return Ok(());
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| io::Error::other("over 16 MiB of unit files"))?;
            replace(to, &bytes, true)
        };
        copy(&etc.join("host.toml"), &beside.join("host.toml"))?;
        let units = match fs::read_dir(etc.join("units")) {
            Ok(units) => units.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_unit = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "toml");
        let paths = units.into_iter().map(|unit| unit.path()).filter(is_unit);
        for path in paths.take(FILES_MAX) {
            let name = path.file_name().unwrap_or_default();
            copy(&path, &beside.join("units").join(name))?;
        }
        replace(&beside.join(ROOT), root.as_bytes(), true)?;
        remove(&self.0)?;
        fs::rename(&beside, &self.0)?;
        self.0.parent().map_or(Ok(()), sync_dir)
    }

    /// The directory with the files, if they are of the version with the root hash `root`.
    fn of(&self, root: &str) -> Option<&Path> {
        let kept = read_bounded(&self.0.join(ROOT), 64).ok()?;
        (kept == root.as_bytes()).then_some(self.0.as_path())
    }

    /// The file of a unit, for the version with the root hash `root`.
    pub fn unit(&self, root: &str, name: &str) -> Option<PathBuf> {
        let path = self.of(root)?.join("units").join(format!("{name}.toml"));
        path.exists().then_some(path)
    }

    /// The host TOML, for that version.
    pub fn host_toml(&self, root: &str) -> Option<PathBuf> {
        let path = self.of(root)?.join("host.toml");
        path.exists().then_some(path)
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_for_the_version_that_had_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().join(below);
        fs::create_dir_all(at("etc/units/odd.toml")).unwrap();
        fs::write(at("etc/units/web.toml"), "one").unwrap();
        fs::write(at("etc/units/notes.txt"), "x").unwrap();
        let before = Before::new(&at("update"));
        assert_eq!(before.unit("aa", "web"), None);
        before.keep("aa", &at("etc")).unwrap();
        let kept = before.unit("aa", "web").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        assert_eq!(before.unit("bb", "web"), None);
        assert_eq!(before.unit("aa", "notes"), None);
        assert_eq!(before.unit("aa", "odd"), None);
        assert_eq!(before.host_toml("aa"), None);

        fs::write(at("etc/host.toml"), "two").unwrap();
        fs::remove_file(at("etc/units/web.toml")).unwrap();
        // What power left of another attempt does not matter.
        fs::create_dir_all(at("update/before.new/units")).unwrap();
        fs::write(at("update/before.new/units/old.toml"), "x").unwrap();
        before.keep("bb", &at("etc")).unwrap();
        assert_eq!(before.unit("bb", "web"), None);
        assert_eq!(before.unit("bb", "old"), None);
        let host = before.host_toml("bb").unwrap();
        assert_eq!(fs::read_to_string(host).unwrap(), "two");
        assert_eq!(before.host_toml("aa"), None);
    }
}
