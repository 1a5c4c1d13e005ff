//! Why the last update came to nothing, on the state partition: whoever looks after the manager was
//! started anew, or the host, is told as well. The next request takes its place.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable::{read_bounded, replace};

/// The format that is written, and the newest that is read: another version may read it.
const FORMAT: u32 = 1;
/// Bytes of the file, at most.
const FILE_MAX: usize = 64 << 10;
/// Characters of the reason, and of each other text, at most.
const CHARS_MAX: (usize, usize) = (2000, 400);

/// An update that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    format: u32,
    /// The version that it was to, if that was known.
    pub(super) version: Option<String>,
    /// Where that came from, if that was known.
    pub(super) source: Option<String>,
    /// Why, in a sentence.
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn new(version: Option<&str>, source: Option<&str>, reason: &str) -> Failure {
        let cut = |text: &str, most| text.chars().take(most).collect::<String>();
        Failure {
            format: FORMAT,
            version: version.map(|version| cut(version, CHARS_MAX.1)),
            source: source.map(|source| cut(source, CHARS_MAX.1)),
            reason: cut(reason, CHARS_MAX.0),
        }
    }

    /// Puts it on record, lastingly.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn put(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        replace(path, &serde_json::to_vec_pretty(self)?, true)
    }

    /// The one that is on record. None when that cannot be read, which is logged: all that depends on
    /// it is what is told.
    pub(super) fn read(path: &Path) -> Option<Failure> {
        let known = match read_bounded(path, FILE_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        match known {
            Ok(Failure { format, .. }) if format > FORMAT => None,
            Ok(failure) => Some(failure),
            Err(problem) => {
                let path = path.display();
                tracing::warn!("{path}: {problem}; why the last update failed is not known");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_what_is_broken_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("update/last-failure.json");
        assert_eq!(Failure::read(&path), None);
        let long = "\u{1}ß".repeat(1 << 20);
        let failure = Failure::new(Some(&long), Some(&long), &long);
        failure.put(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < FILE_MAX as u64);
        assert_eq!(Failure::read(&path), Some(failure));
        for text in ["", "{}", "{\"format\": 2, \"reason\": \"x\"}"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Failure::read(&path), None, "{text}");
        }
    }
}
