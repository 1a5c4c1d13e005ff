//! What lasts of trials on the state partition, in `/var/lib/orlop/update`:
//!
//! - `trial.json`: the last install and how its trial stands. Whoever installs writes it before the
//!   install can boot; the manager puts the outcome into it.
//! - `failed.json`: the last install that failed, why, and what its units wrote last, until another
//!   one passes.
//! - `given-up.json`: every version that failed on this host or was given up by hand, the last ones of
//!   them: the channel takes none of these.
//!
//! All carry a format; another version of the manager reads them after a roll-back.

use std::io;
use std::path::{Path, PathBuf};

use orlop_control::types::FailedUpdate;
use orlop_slot::trial::{Outcome, Record};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::durable::{read_bounded, replace, sync_dir};

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;
/// The largest file, in bytes.
const FILE_MAX: usize = 1 << 20;
/// The most versions that are known to have failed; the oldest is forgotten first.
const GIVEN_UP_MAX: usize = 64;

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

#[derive(Serialize, Deserialize)]
struct Formatted<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrialFile {
    serial: u32,
    version: String,
    root: String,
    outcome: OutcomeWord,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OutcomeWord {
    Trying,
    Blessed,
    Failed,
}

#[derive(Default, Serialize, Deserialize)]
struct GivenUpFile {
    versions: Vec<String>,
}

impl Records {
    /// The files in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Records {
        Records(dir)
    }

    fn trial_path(&self) -> PathBuf {
        self.0.join("trial.json")
    }

    fn failed_path(&self) -> PathBuf {
        self.0.join("failed.json")
    }

    fn given_up_path(&self) -> PathBuf {
        self.0.join("given-up.json")
    }

    /// The last install, if there is one on record.
    ///
    /// # Errors
    /// What is wrong with the file, for a person: then names are believed.
    pub(crate) fn trial(&self) -> Result<Option<Record>, String> {
        let file: Option<TrialFile> = read(&self.trial_path())?;
        Ok(file.map(|file| Record {
            serial: file.serial,
            version: file.version,
            root: file.root,
            outcome: match file.outcome {
                OutcomeWord::Trying => Outcome::Trying,
                OutcomeWord::Blessed => Outcome::Blessed,
                OutcomeWord::Failed => Outcome::Failed,
            },
        }))
    }

    /// Puts an install on record, lastingly.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn put_trial(&self, record: &Record) -> io::Result<()> {
        let file = TrialFile {
            serial: record.serial,
            version: record.version.clone(),
            root: record.root.clone(),
            outcome: match record.outcome {
                Outcome::Trying => OutcomeWord::Trying,
                Outcome::Blessed => OutcomeWord::Blessed,
                Outcome::Failed => OutcomeWord::Failed,
            },
        };
        self.write(&self.trial_path(), file)
    }

    /// The last install that failed, if there is one on record.
    ///
    /// # Errors
    /// What is wrong with the file, for a person.
    pub(crate) fn failed(&self) -> Result<Option<FailedUpdate>, String> {
        read(&self.failed_path())
    }

    /// Writes down an install that failed, lastingly.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn put_failed(&self, failed: &FailedUpdate) -> io::Result<()> {
        // First what keeps the channel from trying it once more.
        self.give_up(&failed.version)?;
        self.write(&self.failed_path(), failed)
    }

    /// Has the channel take `version` no more, lastingly.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn give_up(&self, version: &str) -> io::Result<()> {
        let mut versions = self.given_up();
        if versions.iter().any(|known| known == version) {
            return Ok(());
        }
        versions.push(version.to_owned());
        let surplus = versions.len().saturating_sub(GIVEN_UP_MAX);
        versions.drain(..surplus);
        self.write(&self.given_up_path(), GivenUpFile { versions })
    }

    /// The versions that failed on this host or were given up, the last one last. None when that
    /// cannot be read: at worst one is tried once more.
    pub(crate) fn given_up(&self) -> Vec<String> {
        let file: Result<Option<GivenUpFile>, String> = read(&self.given_up_path());
        let file = file.unwrap_or_else(|problem| {
            tracing::warn!("{problem}; versions that failed may be tried again");
            None
        });
        file.unwrap_or_default().versions
    }

    /// Forgets the install that failed, lastingly.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn forget_failed(&self) -> io::Result<()> {
        match std::fs::remove_file(self.failed_path()) {
            Ok(()) => sync_dir(&self.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write<T: Serialize>(&self, path: &Path, content: T) -> io::Result<()> {
        let format = FORMAT;
        let bytes = serde_json::to_vec_pretty(&Formatted { format, content })?;
        let new = !self.0.exists();
        std::fs::create_dir_all(&self.0)?;
        replace(path, &bytes, true)?;
        match self.0.parent() {
            Some(parent) if new => sync_dir(parent),
            Some(_) | None => Ok(()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let about = |problem: String| format!("{}: {problem}", path.display());
    let bytes = match read_bounded(path, FILE_MAX) {
        Ok(bytes) if bytes.len() > FILE_MAX => return Err(about("it is over 1 MiB".to_owned())),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(error.to_string())),
    };
    let file: Formatted<T> =
        serde_json::from_slice(&bytes).map_err(|error| about(error.to_string()))?;
    if file.format > FORMAT {
        let (found, known) = (file.format, FORMAT);
        return Err(about(format!(
            "it is of format {found}, and this version knows {known} and less"
        )));
    }
    Ok(Some(file.content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_control::types::FailedUnit;

    fn record() -> Record {
        Record {
            serial: 2,
            version: "2.0.0".to_owned(),
            root: "ab".repeat(32),
            outcome: Outcome::Trying,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().join("update"));
        assert_eq!(records.trial(), Ok(None));
        for outcome in [Outcome::Trying, Outcome::Blessed, Outcome::Failed] {
            let record = Record {
                outcome,
                ..record()
            };
            records.put_trial(&record).unwrap();
            assert_eq!(records.trial(), Ok(Some(record)));
        }
        let failed = FailedUpdate {
            version: "2.0.0".to_owned(),
            serial: 2,
            units: vec![FailedUnit {
                log: vec!["last words".to_owned()],
                ..FailedUnit::default()
            }],
            ..FailedUpdate::default()
        };
        records.put_failed(&failed).unwrap();
        assert_eq!(records.failed(), Ok(Some(failed)));
        records.forget_failed().unwrap();
        records.forget_failed().unwrap();
        assert_eq!(records.failed(), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().to_owned());
        for (text, expected) in [
            ("", "EOF"),
            ("{\"format\": 1}", "missing field"),
            (
                "{\"format\": 2, \"serial\": 2, \"version\": \"2\", \"root\": \"ab\", \
                 \"outcome\": \"trying\", \"more\": 1}",
                "format 2",
            ),
        ] {
            std::fs::write(dir.path().join("trial.json"), text).unwrap();
            let problem = records.trial().unwrap_err();
            assert!(
                problem.contains("trial.json: ") && problem.contains(expected),
                "{problem}"
            );
        }
    }
}
