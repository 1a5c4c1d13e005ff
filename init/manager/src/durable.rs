//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::path::Path;

/// Replaces `path` by a file with `bytes`, written beside and renamed. With
/// `lasting` it also outlives a power cut.
pub fn replace(path: &Path, bytes: &[u8], lasting: bool) -> Result<()> {
    let beside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            if lasting { file.sync_all() } else { Ok(()) }
        })
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    match path.parent() {
        Some(parent) if lasting => sync_dir(parent),
        Some(_) | None => Ok(()),
    }
}

/// Makes a directory's entries last.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)?.sync_all()
}

/// Whether an error says that the file system is full.
pub fn no_room(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// A file's bytes, at most `max` of them and one more, which tells that there
/// are more. Never blocks on what is not a regular file.
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(std::io::Error::other("a directory, not a file"));
    }
    if !kind.is_file() {
        return Err(std::io::Error::other(
            "a pipe or device, not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
