//! A temporary file without a name, which takes the bytes of layers until
//! their digests are known to be right.
//!
//! Having no name, it is gone when the last [`Content`] in it is dropped, or
//! when the process dies.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::content::Content;
use crate::{Error, Result};

/// Bytes that one copying step moves.
const CHUNK: usize = 128 << 10;

/// Room that is left to the rest of the host: an image that would fill the
/// file system to the brim is refused.
pub(crate) const HEADROOM: u64 = 8 << 20;
/// Bytes after which it is looked at again: less than the room itself.
const LOOK: u64 = 4 << 20;

/// A growing temporary file.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Arc<File>,
    len: u64,
    /// Length from which on the room is looked at before more is written.
    look_at: u64,
    dir: PathBuf,
    buffer: Vec<u8>,
}

impl Spool {
    /// A new one on the file system of `dir`.
    pub(crate) fn new_in(dir: &Path) -> Result<Self> {
        let file = nameless(dir).map_err(|error| {
            Error::io(format!("make a temporary file in {}", dir.display()), error)
        })?;
        Ok(Self {
            file: Arc::new(file),
            len: 0,
            look_at: 0,
            dir: dir.to_owned(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Appends what `from` gives up to `limit` bytes; `what` names it in
    /// errors.
    pub(crate) fn take_in(
        &mut self,
        from: &mut dyn Read,
        limit: u64,
        what: &dyn Fn(io::Error) -> Error,
    ) -> Result<Content> {
        let start = self.len;
        let mut left = limit;
        while left > 0 {
            let step = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(CHUNK));
            let got = match from.read(&mut self.buffer[..step]) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(what(error)),
            };
            self.look_for_room()?;
            (&*self.file)
                .write_all(&self.buffer[..got])
                .map_err(|error| self.refused(error))?;
            self.len += got as u64;
            left -= got as u64;
        }
        Ok(Content::from_file(
            Arc::clone(&self.file),
            start,
            self.len - start,
        ))
    }

    /// The file itself.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Refuses to take the last of the file system, which others need.
    fn look_for_room(&mut self) -> Result<()> {
        if self.len < self.look_at {
            return Ok(());
        }
        self.look_at = self.len + LOOK;
        match free_bytes(&self.dir) {
            free if free < HEADROOM => Err(self.no_space(free)),
            _ => Ok(()),
        }
    }

    /// Says of a full file system how much was there and how much is missing
    /// at the least.
    fn refused(&self, error: io::Error) -> Error {
        let error = Error::io(
            format!("write a temporary file in {}", self.dir.display()),
            error,
        );
        if !error.is_no_space() {
            return error;
        }
        self.no_space(free_bytes(&self.dir))
    }

    fn no_space(&self, free: u64) -> Error {
        // What is in the spool will be written once more, into the store.
        let needed = self
            .len
            .saturating_mul(2)
            .saturating_add(HEADROOM)
            .max(free.saturating_add(CHUNK as u64));
        Error::NoSpace {
            path: self.dir.clone(),
            needed,
            free,
        }
    }
}

/// Bytes that an ordinary process may still write to the file system of `dir`;
/// zero where the system does not say.
pub(crate) fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn nameless(dir: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    // File systems without O_TMPFILE (older overlayfs): a name, at once unlinked.
    let name = dir.join(format!(
        ".tmp-spool-{}-{:p}",
        std::process::id(),
        &raw const mode
    ));
    let file = rustix::fs::open(&name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    rustix::fs::unlinkat(CWD, &name, AtFlags::empty())?;
    Ok(file.into())
}
