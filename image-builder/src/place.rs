//! Putting finished files in their places: whole on the disk before the first
//! of them appears, so that neither a failed build nor a power cut leaves a new
//! file beside old ones that it does not fit.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Files that belong together, under temporary names. Dropping it removes them.
pub(crate) struct Staged {
    /// On the file system of all the places.
    scratch: PathBuf,
    files: Vec<Placed>,
}

/// A file, where it goes, and who may read it then.
struct Placed {
    file: NamedTempFile,
    place: PathBuf,
    mode: u32,
}

impl Staged {
    /// No files yet; those of [`Staged::write`] wait in `scratch`.
    pub(crate) fn new(scratch: &Path) -> Self {
        Self {
            scratch: scratch.to_path_buf(),
            files: Vec::new(),
        }
    }

    /// Adds a file that is written already, to have `mode`.
    pub(crate) fn add(&mut self, file: NamedTempFile, place: PathBuf, mode: u32) {
        self.files.push(Placed { file, place, mode });
    }

    /// Writes a file that all may read, and adds it.
    pub(crate) fn write(&mut self, bytes: &[u8], place: PathBuf) -> Result<()> {
        let mut file = NamedTempFile::new_in(&self.scratch)?;
        file.write_all(bytes)
            .with_context(|| format!("writing {}", place.display()))?;
        self.add(file, place, 0o644);
        Ok(())
    }

    /// Puts every file in its place, in the order they were added.
    ///
    /// # Errors
    /// A file that the disk does not take: nothing has changed then. A place
    /// that cannot be taken: it and all after it are as they were.
    pub(crate) fn place(self) -> Result<()> {
        let writing = |place: &Path| format!("writing {}", place.display());
        for Placed { file, place, mode } in &self.files {
            file.as_file()
                .set_permissions(Permissions::from_mode(*mode))
                .and_then(|()| file.as_file().sync_all())
                .with_context(|| writing(place))?;
        }
        let mut directories = BTreeSet::from([self.scratch]);
        for Placed { file, place, .. } in self.files {
            if let Some(directory) = place.parent() {
                fs::create_dir_all(directory).with_context(|| writing(&place))?;
                directories.insert(directory.to_path_buf());
            }
            file.persist(&place).with_context(|| writing(&place))?;
        }
        for directory in directories {
            File::open(&directory)
                .and_then(|opened| opened.sync_all())
                .with_context(|| writing(&directory))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_together_or_stay_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let stage = |text: &str| {
            let mut staged = Staged::new(dir.path());
            staged.write(text.as_bytes(), at("disk")).unwrap();
            staged.write(text.as_bytes(), at("disk.d/cmdline")).unwrap();
            staged
        };
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        drop(stage("none"));
        assert!(names().is_empty(), "{:?}", names());
        stage("old").place().unwrap();
        stage("newer").place().unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            (read("disk"), read("disk.d/cmdline")),
            ("newer".into(), "newer".into())
        );
        let mode = fs::metadata(at("disk.d/cmdline")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o644);

        // The disk's place cannot be taken: what belongs to it stays, too.
        fs::remove_file(at("disk")).unwrap();
        fs::create_dir(at("disk")).unwrap();
        let error = stage("newest").place().unwrap_err().to_string();
        assert!(
            error.contains("writing") && error.contains("disk"),
            "{error}"
        );
        assert_eq!(read("disk.d/cmdline"), "newer");
        assert_eq!(names(), ["disk", "disk.d"]);
    }
}
