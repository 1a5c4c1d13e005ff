//! Reading and writing at an offset, all or nothing.
//!
//! The names are not those of [`FileExt`], so that both can be in scope.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Something that can be read at any offset.
pub trait ReadAt {
    /// Fills `bytes` with what is at byte `offset`.
    ///
    /// # Errors
    /// It cannot be read, or ends before `bytes` is full.
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Something that can be written at any offset.
pub trait WriteAt {
    /// Puts all of `bytes` at byte `offset`.
    ///
    /// # Errors
    /// Not all of it can be written.
    fn put_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }
}

impl WriteAt for File {
    fn put_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).fill_at(bytes, offset)
    }
}

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn put_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (**self).put_at(bytes, offset)
    }
}
