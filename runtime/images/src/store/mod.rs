//! Images kept on a file system, unpacked, each under its configuration's
//! digest.
//!
//! ```text
//! index.json             names, and which image each one means
//! <64 hex digits>/       an image, whole
//!     config.json        its configuration, as its author wrote it
//!     rootfs/            its file tree
//! .tmp-…                 an image that is coming or going
//! ```
//!
//! Power may go at any instant (I4): an image is written under a `.tmp-` name,
//! flushed, and only then renamed; `index.json` is replaced by a rename as
//! well. So an image's directory is whole whenever it has its name, and a name
//! in the index always has its image. What an interruption leaves behind is
//! found by [`Store::sweep`].
//!
//! A baked store has the same files on a read-only root; there, only reading
//! works. Writers are kept apart by a lock on the directory.

mod add;
mod index;
mod remove;
mod write;

pub use index::{CONFIG, INDEX, IndexEntry, ROOTFS, index_json, layout};
pub use write::Ownership;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::digest::Digest;
use crate::reference::normalise;
use crate::{Error, Result};
use index::Index;

/// Most bytes of `index.json` or of a configuration that are read.
const DOCUMENT_BYTES: u64 = 16 << 20;
/// Fewest hex digits that stand for an id.
const ID_PREFIX: usize = 6;

/// A directory of images.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    ownership: Ownership,
}

/// An image in a store.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Normalised name (`localhost/demo:1`).
    pub reference: String,
    /// `sha256:` digest of its configuration.
    pub id: String,
    /// All that `index.json` says of it.
    pub entry: IndexEntry,
    /// Its unpacked file tree, not to be written to.
    pub rootfs: PathBuf,
    /// Its configuration.
    pub config: ImageConfiguration,
}

impl Store {
    /// The store in `dir`. A directory that is not there is an empty store,
    /// and is made when an image is added. Unpacked files get their owners, so
    /// adding needs the privilege to give files away.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self::open_with(dir, Ownership::Image)
    }

    /// The same, with a say in who owns unpacked files.
    pub fn open_with(dir: impl Into<PathBuf>, ownership: Ownership) -> Self {
        Self {
            dir: dir.into(),
            ownership,
        }
    }

    /// The store's directory; also the place for a source's temporary files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All images by reference.
    ///
    /// # Errors
    /// An `index.json` that cannot be read.
    pub fn list(&self) -> Result<Vec<IndexEntry>> {
        Ok(self.index()?.images)
    }

    /// The image of that name (a missing tag means `:latest`), or else the one
    /// whose id starts with the given hex digits, at least six, with or
    /// without `sha256:`.
    ///
    /// # Errors
    /// An index or configuration that cannot be read, an id that several
    /// images share.
    pub fn find(&self, wanted: &str) -> Result<Option<StoredImage>> {
        let images = self.list()?;
        let Some(entry) = pick(&images, wanted)? else {
            return Ok(None);
        };
        let id = Digest::parse(&entry.id)?;
        let dir = self.dir.join(id.hex());
        let what = dir.join(CONFIG);
        let bytes = read_document(&what)?.ok_or_else(|| {
            let why = format!("is missing; remove {:?} and load it again", entry.reference);
            Error::invalid(what.display().to_string(), why)
        })?;
        if Digest::of(&bytes) != id {
            return Err(Error::Damaged {
                what: what.display().to_string(),
                expected: entry.id.clone(),
                found: Digest::of(&bytes).to_string(),
            });
        }
        let config = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(what.display().to_string(), error.to_string()))?;
        Ok(Some(StoredImage {
            reference: entry.reference.clone(),
            id: entry.id.clone(),
            entry: entry.clone(),
            rootfs: dir.join(ROOTFS),
            config,
        }))
    }

    fn index(&self) -> Result<Index> {
        let path = self.dir.join(INDEX);
        let Some(bytes) = read_document(&path)? else {
            return Ok(Index::default());
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))
    }

    /// Replaces `index.json`, durably.
    fn write_index(&self, dir: &OwnedFd, entries: &[IndexEntry]) -> Result<()> {
        const BESIDE: &str = ".tmp-index";
        let bytes = index_json(entries)?;
        let failed = |error| write::failed(&self.dir, &self.dir.join(INDEX), error);
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
            let mode = Mode::from_raw_mode(0o644);
            let file: File = rustix::fs::openat(dir, BESIDE, flags | OFlags::CLOEXEC, mode)?.into();
            io::Write::write_all(&mut &file, &bytes)?;
            file.sync_all()?;
            rustix::fs::renameat(dir, BESIDE, dir, INDEX)?;
            rustix::fs::fsync(dir)?;
            Ok(())
        };
        let result = write();
        if result.is_err() {
            let _ = rustix::fs::unlinkat(dir, BESIDE, rustix::fs::AtFlags::empty());
        }
        result.map_err(failed)
    }

    /// The store's directory, locked against other writers until it is closed.
    fn lock(&self) -> Result<OwnedFd> {
        let what = || format!("lock {}", self.dir.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&self.dir, flags, Mode::empty())
            .map_err(|error| Error::io(what(), error))?;
        loop {
            match rustix::fs::flock(&dir, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(dir),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io(what(), error)),
            }
        }
    }
}

fn pick<'a>(images: &'a [IndexEntry], wanted: &str) -> Result<Option<&'a IndexEntry>> {
    let name = normalise(wanted).ok();
    if let Some(found) = images
        .iter()
        .find(|it| Some(&it.reference) == name.as_ref())
    {
        return Ok(Some(found));
    }
    let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    if hex.len() < ID_PREFIX || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let fits = |it: &&IndexEntry| {
        it.id
            .strip_prefix("sha256:")
            .is_some_and(|id| id.starts_with(&hex.to_ascii_lowercase()))
    };
    let mut found = images.iter().filter(fits);
    let first = found.next();
    if found.any(|other| first.is_some_and(|first| first.id != other.id)) {
        let why = "is the start of several images' ids; give more digits";
        return Err(Error::invalid(format!("image id {wanted:?}"), why));
    }
    Ok(first)
}

/// A bounded file, whole; nothing if it is not there.
fn read_document(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::io(format!("read {}", path.display()), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_BYTES {
        return Err(Error::TooLarge {
            what: path.display().to_string(),
            found: "its size".to_owned(),
            limit: format!("{DOCUMENT_BYTES} bytes"),
        });
    }
    Ok(Some(bytes))
}
