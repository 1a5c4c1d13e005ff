//! Putting unit files into the lasting directory: all of them or none, also
//! when the power goes.
//!
//! The files are staged beside and synced; one rename of the staged directory
//! is the moment at which they are all in force. What follows, moving each to
//! its place, is done again at the next start until it is done.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use orlop_control::types::UnitFile;

use crate::durable::sync_dir;

fn staged(etc: &Path) -> PathBuf {
    etc.join("apply.staged")
}

fn committed(etc: &Path) -> PathBuf {
    etc.join("apply.committed")
}

fn units(etc: &Path) -> PathBuf {
    etc.join("units")
}

/// What came of files that are accepted for good.
#[derive(Debug)]
pub enum Committed {
    /// All are in their place.
    InForce,
    /// Something stood in the way; [`recover`] finishes it.
    Unfinished(Error),
}

/// Writes the files, lastingly. After an error nothing has changed.
pub fn commit(etc: &Path, files: &[UnitFile]) -> Result<Committed> {
    recover(etc)?;
    let stage = stage(etc, files).and_then(|()| {
        std::fs::rename(staged(etc), committed(etc))?;
        sync_dir(etc)
    });
    if let Err(error) = stage {
        let _ = std::fs::remove_dir_all(staged(etc));
        // The rename came through and only its sync failed: take it back.
        let _ = std::fs::remove_dir_all(committed(etc));
        return match committed(etc).exists() {
            true => Ok(Committed::Unfinished(error)),
            false => Err(error),
        };
    }
    Ok(match roll_forward(etc) {
        Ok(()) => Committed::InForce,
        Err(error) => Committed::Unfinished(error),
    })
}

fn stage(etc: &Path, files: &[UnitFile]) -> Result<()> {
    let dir = staged(etc);
    std::fs::create_dir_all(units(etc))?;
    std::fs::create_dir(&dir)?;
    for file in files {
        let name = format!("{}.toml", file.name);
        let place = units(etc).join(&name);
        // No file can be renamed over one, and after the commit it is too late.
        if place.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            let place = place.display();
            return Err(Error::new(
                ErrorKind::IsADirectory,
                format!(
                    "{place} is a directory; `orlop rm {}` removes it",
                    file.name
                ),
            ));
        }
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join(name))?;
        target.write_all(file.content.as_bytes())?;
        target.sync_all()?;
    }
    File::open(&dir)?.sync_all()
}

fn roll_forward(etc: &Path) -> Result<()> {
    let dir = committed(etc);
    for entry in std::fs::read_dir(&dir)? {
        let name = entry?.file_name();
        std::fs::rename(dir.join(&name), units(etc).join(&name))?;
    }
    sync_dir(&units(etc))?;
    std::fs::remove_dir(&dir)?;
    sync_dir(etc)
}

/// Finishes what was committed and drops what was not. At each start, before
/// the unit directories are read.
pub fn recover(etc: &Path) -> Result<()> {
    std::fs::create_dir_all(units(etc))?;
    if staged(etc).exists() {
        std::fs::remove_dir_all(staged(etc))?;
    }
    if committed(etc).exists() {
        roll_forward(etc)?;
    }
    Ok(())
}

/// Takes a file away, lastingly; or an empty directory that has a file's name.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => std::fs::remove_dir(path)?,
        removed => removed?,
    }
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> UnitFile {
        UnitFile {
            name: name.to_owned(),
            content: content.to_owned(),
        }
    }

    fn read(etc: &Path) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(units(etc))
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn files_come_and_are_replaced() {
        let etc = tempfile::tempdir().unwrap();
        for files in [&[file("a", "1"), file("b", "2")][..], &[file("a", "3")]] {
            let committed = commit(etc.path(), files).unwrap();
            assert!(matches!(committed, Committed::InForce));
        }
        assert_eq!(read(etc.path()), ["2", "3"]);
    }

    #[test]
    fn a_cut_at_any_step_leaves_all_or_nothing() {
        let new = [file("a", "new"), file("b", "new")];
        let old = [file("a", "old"), file("b", "old")];
        // Staged in part, staged whole, committed, moved in part, moved whole.
        for step in 0..5 {
            let etc = tempfile::tempdir().unwrap();
            let etc = etc.path();
            commit(etc, &old).unwrap();
            let part = if step == 0 { &new[..1] } else { &new[..] };
            stage(etc, part).unwrap();
            if step >= 2 {
                std::fs::rename(staged(etc), committed(etc)).unwrap();
            }
            for moved in &["a.toml", "b.toml"][..(step as usize).saturating_sub(2).min(2)] {
                std::fs::rename(committed(etc).join(moved), units(etc).join(moved)).unwrap();
            }
            recover(etc).unwrap();
            let expected = if step >= 2 { "new" } else { "old" };
            assert_eq!(read(etc), [expected, expected], "step {step}");
            assert!(!staged(etc).exists() && !committed(etc).exists());
        }
    }

    #[test]
    fn what_was_accepted_is_finished_later_when_something_is_in_the_way() {
        let etc = tempfile::tempdir().unwrap();
        let etc = etc.path();
        stage(etc, &[file("a", "new"), file("b", "new")]).unwrap();
        std::fs::rename(staged(etc), committed(etc)).unwrap();
        let obstacle = units(etc).join("a.toml");
        std::fs::create_dir_all(obstacle.join("full")).unwrap();
        assert!(recover(etc).is_err());
        // Nothing else is accepted before.
        assert!(commit(etc, &[file("c", "new")]).is_err());
        std::fs::remove_dir_all(&obstacle).unwrap();
        recover(etc).unwrap();
        assert_eq!(read(etc), ["new", "new"]);
    }

    #[test]
    fn a_directory_in_the_way_changes_nothing_and_can_be_removed() {
        let etc = tempfile::tempdir().unwrap();
        let etc = etc.path();
        commit(etc, &[file("a", "old")]).unwrap();
        let place = units(etc).join("b.toml");
        std::fs::create_dir(&place).unwrap();
        let error = commit(etc, &[file("a", "new"), file("b", "new")]).unwrap_err();
        assert!(
            error.to_string().contains("b.toml is a directory"),
            "{error}"
        );
        recover(etc).unwrap();
        remove(&place).unwrap();
        assert_eq!(read(etc), ["old"]);
        commit(etc, &[file("a", "new"), file("b", "new")]).unwrap();
        assert_eq!(read(etc), ["new", "new"]);
    }

    #[test]
    fn an_error_changes_nothing() {
        let etc = tempfile::tempdir().unwrap();
        commit(etc.path(), &[file("a", "old")]).unwrap();
        let result = commit(etc.path(), &[file("a", "new"), file("no/such", "x")]);
        assert!(result.is_err());
        assert_eq!(read(etc.path()), ["old"]);
        assert!(!staged(etc.path()).exists(), "it takes room");
    }
}
