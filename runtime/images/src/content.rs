//! The bytes of a regular file: a range of a spool file, or a few in memory.
//!
//! Knows nothing of where in a tree the bytes go.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a file, shared cheaply and read at any place.
#[derive(Clone)]
pub struct Content {
    backing: Backing,
    offset: u64,
    len: u64,
}

#[derive(Clone)]
enum Backing {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

/// Bytes that one copying step moves.
const CHUNK: usize = 128 << 10;

impl Content {
    /// Bytes held in memory; for small files that a program makes itself.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Self {
            backing: Backing::Memory(bytes),
            offset: 0,
            len,
        }
    }

    /// `len` bytes of `file` from `offset` on. The file must not change while
    /// this value lives: give it a spool of one's own.
    pub fn from_file(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self {
            backing: Backing::File(file),
            offset,
            len,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file and the offset in it where the bytes are, if they are in one;
    /// lets a writer copy within the kernel.
    pub fn file(&self) -> Option<(&File, u64)> {
        match &self.backing {
            Backing::Memory(_) => None,
            Backing::File(file) => Some((file, self.offset)),
        }
    }

    /// Fills `buffer` from position `at`; gives the number of bytes read,
    /// which is less than the buffer's length only at the content's end.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = self.len.saturating_sub(at);
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        match &self.backing {
            Backing::Memory(bytes) => {
                let from = usize::try_from(self.offset + at).unwrap_or(usize::MAX);
                let source = bytes.get(from..).and_then(|rest| rest.get(..wanted));
                buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            Backing::File(file) => file.read_exact_at(buffer, self.offset + at)?,
        }
        Ok(wanted)
    }

    /// A reader over all bytes.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            content: self,
            at: 0,
        }
    }

    /// Writes all bytes to `to`.
    pub fn copy_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.len).unwrap_or(CHUNK))];
        let mut at = 0;
        while at < self.len {
            let got = self.read_at(&mut buffer, at)?;
            to.write_all(&buffer[..got])?;
            at += got as u64;
        }
        Ok(())
    }

    /// All bytes at once; for files known to be small.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy_to(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.backing {
            Backing::Memory(_) => "memory",
            Backing::File(_) => "spool",
        };
        write!(f, "Content({} bytes in {place})", self.len)
    }
}

/// Reads a [`Content`] from its start.
#[derive(Debug)]
pub struct Reader<'a> {
    content: &'a Content,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.content.read_at(buffer, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_file_reads_as_just_that_range() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let content = Content::from_file(Arc::new(file), 3, 4);
        assert_eq!(content.to_vec().unwrap(), b"3456");
        let mut text = String::new();
        content.reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        let mut buffer = [0; 8];
        assert_eq!(content.read_at(&mut buffer, 3).unwrap(), 1);
        assert_eq!(content.read_at(&mut buffer, 9).unwrap(), 0);
    }

    #[test]
    fn a_file_cut_short_under_it_is_an_error_not_short_data() {
        let file = tempfile::tempfile().unwrap();
        assert!(Content::from_file(Arc::new(file), 0, 1).to_vec().is_err());
    }
}
