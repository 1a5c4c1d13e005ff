//! The names of a log's files, and which of them there are.

use std::io::Result;
use std::path::{Path, PathBuf};

use orlop_control::types::LogStream;

/// The word for a stream in file names.
pub(super) fn word(stream: LogStream) -> &'static str {
    match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    }
}

/// Where segment `number`'s bytes are.
pub(super) fn data_path(dir: &Path, stream: LogStream, number: u64) -> PathBuf {
    dir.join(format!("{}.{number:010}.log", word(stream)))
}

/// Where segment `number`'s index is.
pub(super) fn index_path(dir: &Path, stream: LogStream, number: u64) -> PathBuf {
    dir.join(format!("{}.{number:010}.idx", word(stream)))
}

/// The numbers of a stream's segments, in order. No directory is no segments.
pub(super) fn list(dir: &Path, stream: LogStream) -> Result<Vec<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix(word(stream)))
            .and_then(|name| name.strip_prefix('.'))
            .and_then(|name| name.strip_suffix(".log"))
            .filter(|digits| digits.len() == 10)
            .and_then(|digits| digits.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
