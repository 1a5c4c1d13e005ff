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

    /// Keeps what is in `etc` for the version with the root hash `root`, lastingly; of a file that it
    /// does not `understand`, what was kept for it before, which is what it goes by.
    ///
    /// # Errors
    /// The system's; more files than can be kept. What was kept before stays then.
    pub fn keep(
        &self,
        root: &str,
        etc: &Path,
        understands: impl Fn(&Path, &[u8]) -> bool,
    ) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        remove(&beside)?;
        fs::create_dir_all(beside.join("units"))?;
        let mut left = BYTES_MAX;
        let mut copy = |below: &Path| -> io::Result<()> {
            let understood = |path: PathBuf| {
                let bytes = read_bounded(&path, orlop_unit::MAX_FILE_BYTES).ok()?;
                understands(&path, &bytes).then_some(bytes)
            };
            let kept = || self.of(root).map(|before| before.join(below));
            let Some(bytes) = understood(etc.join(below)).or_else(|| understood(kept()?)) else {
                return Ok(());
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| io::Error::other("the unit files have over 16 MiB"))?;
            replace(&beside.join(below), &bytes, true)
        };
        copy(Path::new("host.toml"))?;
        let units = match fs::read_dir(etc.join("units")) {
            Ok(units) => units.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let names = units
            .into_iter()
            .map(|unit| PathBuf::from(unit.file_name()));
        let is_unit = |name: &PathBuf| name.extension().is_some_and(|ending| ending == "toml");
        let names: Vec<PathBuf> = names.filter(is_unit).collect();
        if names.len() > FILES_MAX {
            return Err(io::Error::other("there are over 1024 unit files"));
        }
        for name in names {
            copy(&Path::new("units").join(name))?;
        }
        replace(&beside.join(ROOT), root.as_bytes(), true)?;
        self.swap(&beside)
    }

    /// Puts what was made beside in place, so that power leaves the one or the other.
    fn swap(&self, beside: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        sync_dir(&beside.join("units"))?;
        match self.0.exists() {
            true => renameat_with(CWD, beside, CWD, &self.0, RenameFlags::EXCHANGE)?,
            false => fs::rename(beside, &self.0)?,
        }
        self.0.parent().map_or(Ok(()), sync_dir)?;
        remove(beside)
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
        let all = |_: &Path, _: &[u8]| true;
        assert_eq!(before.unit("aa", "web"), None);
        before.keep("aa", &at("etc"), all).unwrap();
        let kept = before.unit("aa", "web").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        assert_eq!(before.unit("bb", "web"), None);
        assert_eq!(before.unit("aa", "notes"), None);
        assert_eq!(before.unit("aa", "odd"), None);
        assert_eq!(before.host_toml("aa"), None);

        // What it does not understand by now is not what it goes by.
        fs::write(at("etc/units/web.toml"), "newer").unwrap();
        fs::write(at("etc/units/more.toml"), "newer").unwrap();
        let old = |_: &Path, bytes: &[u8]| bytes != b"newer";
        before.keep("aa", &at("etc"), old).unwrap();
        let kept = before.unit("aa", "web").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        assert_eq!(before.unit("aa", "more"), None);

        fs::write(at("etc/host.toml"), "two").unwrap();
        fs::remove_file(at("etc/units/web.toml")).unwrap();
        // What power left of another attempt does not matter.
        fs::create_dir_all(at("update/before.new/units")).unwrap();
        fs::write(at("update/before.new/units/old.toml"), "x").unwrap();
        before.keep("bb", &at("etc"), all).unwrap();
        assert!(!at("update/before.new").exists());
        assert_eq!(before.unit("bb", "web"), None);
        assert_eq!(before.unit("bb", "old"), None);
        let host = before.host_toml("bb").unwrap();
        assert_eq!(fs::read_to_string(host).unwrap(), "two");
        assert_eq!(before.host_toml("aa"), None);
    }
}
