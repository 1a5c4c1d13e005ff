//! The slot that is being written: takes chunks from wherever they come.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orlop_bundle::chunk::{SIZE_MAX, unpack};
use orlop_bundle::{ChunkError, Head, Part};
use orlop_verity::Superblock;
use rustix::fs::Advice;

use super::error::UpdateError;
use super::places::Places;
use super::stop::Stop;
use super::survey::{Found, Sources, Survey};
use super::unflushed::Unflushed;
use crate::installs::open_alone;

/// The partitions of the slot, and what of a bundle they have.
#[derive(Debug)]
pub(super) struct Target {
    head: Arc<Head>,
    places: Places,
    root: File,
    verity: File,
    filling: Mutex<Filling>,
    unflushed: Unflushed,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Filling {
    /// By chunk: whether it is to be given.
    missing: Vec<bool>,
    left: usize,
    /// Compressed bytes that were taken.
    moved: u64,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutError {
    /// It is another one, or damaged.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The index has none of this number.
    #[error("the bundle has no chunk {0}")]
    NoChunk(u32),
    /// The disk.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

impl Target {
    /// Opens the slot's partitions for what `head` tells of.
    ///
    /// # Errors
    /// They cannot be opened, are in use, or too small.
    pub(super) fn open(head: Arc<Head>, root: &Path, verity: &Path) -> Result<Target, UpdateError> {
        let places = Places::new(head.index());
        let target = Target {
            root: open(root)?,
            verity: open(verity)?,
            places,
            filling: Mutex::default(),
            unflushed: Unflushed::default(),
            changed: Condvar::new(),
            head,
        };
        let blocks = target.superblock().data_blocks;
        let needs = [
            ("root", &target.root, root, target.places.end()),
            ("verity", &target.verity, verity, orlop_verity::size(blocks)),
        ];
        for (what, file, path, needed) in needs {
            let room = size(file).map_err(UpdateError::disk("measuring", path.display()))?;
            if room < needed {
                return Err(UpdateError::SlotTooSmall {
                    what,
                    room,
                    needed,
                    version: target.head.manifest().version.clone(),
                });
            }
        }
        Ok(target)
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn root(&self) -> &File {
        &self.root
    }

    pub(super) fn verity(&self) -> &File {
        &self.verity
    }

    /// The kernel image's first byte on the root's partition, and its bytes.
    pub(super) fn kernel(&self) -> (u64, u64) {
        let size = self.head.index().part_size(Part::Uki);
        (self.places.kernel(), size)
    }

    /// What the superblock of the slot's hash tree is.
    pub(super) fn superblock(&self) -> Superblock {
        let manifest = self.head.manifest();
        Superblock {
            uuid: manifest.verity.uuid.0,
            data_blocks: manifest.root.size / orlop_verity::BLOCK,
            salt: manifest.verity.salt.0.to_vec(),
        }
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is there already into its places; the rest is missing from then on.
    ///
    /// # Errors
    /// The disk; cancelling.
    pub(super) fn begin(
        &self,
        survey: &Survey,
        sources: &Sources,
        stop: &Stop,
    ) -> Result<(), UpdateError> {
        let mut bytes = vec![0; SIZE_MAX as usize];
        for (found, (entry, number)) in survey
            .found
            .iter()
            .zip(self.head.index().entries().iter().zip(0_u32..))
        {
            stop.check()?;
            let (file, at) = match found {
                Found::There | Found::Missing => continue,
                Found::Beside(at) => (&self.root, at),
                Found::Root(at) => (&sources.root, at),
                Found::Kernel(at) => (&sources.kernel, at),
            };
            let piece = &mut bytes[..entry.size as usize];
            file.read_exact_at(piece, *at)
                .map_err(UpdateError::disk("reading", "what runs"))?;
            self.write(number, piece)?;
        }
        self.flush()?;
        let mut filling = self.filling();
        filling.missing = survey.found.iter().map(|f| *f == Found::Missing).collect();
        filling.left = filling.missing.iter().filter(|missing| **missing).count();
        Ok(())
    }

    /// The chunks that are missing, in order.
    pub(super) fn missing(&self) -> Vec<u32> {
        let filling = self.filling();
        let all = filling.missing.iter().zip(0_u32..);
        all.filter(|(missing, _)| **missing)
            .map(|(_, number)| number)
            .collect()
    }

    /// Compressed bytes that were taken.
    pub(super) fn moved(&self) -> u64 {
        self.filling().moved
    }

    /// Takes a chunk, and tells whether it was missing; else it is not looked at.
    ///
    /// # Errors
    /// It is not the index's; the disk.
    pub(super) fn put(&self, number: u32, compressed: &[u8]) -> Result<bool, PutError> {
        let entry = self.head.index().entries().get(number as usize);
        let entry = entry.ok_or(PutError::NoChunk(number))?;
        let is_missing = |filling: &Filling| filling.missing.get(number as usize) == Some(&true);
        if !is_missing(&self.filling()) {
            return Ok(false);
        }
        let bytes = unpack(entry, compressed)?;
        self.write(number, &bytes)?;
        let size = compressed.len() as u64;
        {
            let mut filling = self.filling();
            // Another may have given it meanwhile: the same bytes.
            match filling.missing.get_mut(number as usize) {
                Some(missing) if *missing => *missing = false,
                Some(_) | None => return Ok(false),
            }
            filling.left -= 1;
            filling.moved += size;
        }
        self.unflushed.wrote(size, || self.flush())?;
        self.changed.notify_all();
        Ok(true)
    }

    fn write(&self, number: u32, bytes: &[u8]) -> Result<(), UpdateError> {
        for place in self.places.of(number) {
            self.root
                .write_all_at(bytes, place.offset)
                .map_err(UpdateError::disk("writing", "the other slot"))?;
        }
        Ok(())
    }

    /// Waits until nothing is missing. `Ok(false)` when nothing came for `patience`.
    ///
    /// # Errors
    /// Cancelling.
    pub(super) fn wait(&self, stop: &Stop, patience: Duration) -> Result<bool, UpdateError> {
        let turn = Duration::from_millis(200);
        let (mut left, mut quiet) = (usize::MAX, Duration::ZERO);
        let mut filling = self.filling();
        loop {
            stop.check()?;
            if filling.left == 0 {
                return Ok(true);
            }
            quiet = match filling.left == left {
                true => quiet + turn,
                false => Duration::ZERO,
            };
            left = filling.left;
            if quiet > patience {
                return Ok(false);
            }
            let waited = self.changed.wait_timeout(filling, turn);
            filling = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has the root's partition written, the disk's own cache included.
    pub(super) fn flush(&self) -> Result<(), UpdateError> {
        self.root
            .sync_data()
            .map_err(UpdateError::disk("flushing", "the other slot"))
    }

    /// What is read from the slot after this comes from the disk.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn forget_cache(&self) -> Result<(), UpdateError> {
        for file in [&self.root, &self.verity] {
            file.sync_all()
                .and_then(|()| Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?))
                .map_err(UpdateError::disk("flushing", "the other slot"))?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, UpdateError> {
    open_alone(path).map_err(UpdateError::disk("opening", path.display()))
}

/// The bytes of a partition.
fn size(file: &File) -> std::io::Result<u64> {
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}
