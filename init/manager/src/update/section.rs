//! A part of a file or device, read without moving the file's own place.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Read from its first byte to its end, or to the file's if that comes first.
pub(super) struct Section<'f> {
    pub(super) file: &'f File,
    /// The next byte that is read.
    pub(super) at: u64,
    /// The byte behind the last one.
    pub(super) end: u64,
}

impl Section<'_> {
    /// All of `file`.
    pub(super) fn whole(file: &File) -> Section<'_> {
        Section {
            file,
            at: 0,
            end: u64::MAX,
        }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = bytes.len().min(left);
        let read = self.file.read_at(&mut bytes[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
