//! Small files: read with a bound, written whole or not at all.

use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// The most bytes read of one file.
const MAX_BYTES: u64 = 64 * 1024;

/// The file's text, at most 64 KiB of it.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file's text without the white space around it; empty when there is none.
pub(crate) fn read_trimmed(path: impl AsRef<Path>) -> String {
    read(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Writes into a file that exists (a kernel's knob).
pub(crate) fn set(path: impl AsRef<Path>, value: &str) -> io::Result<()> {
    File::options()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// Writes `text` beside `path`, then puts it in its place (I4).
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(rustix::fs::open(directory, flags, Mode::empty())?)?;
    Ok(())
}
