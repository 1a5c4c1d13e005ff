//! Whether a slot holds a root, whole.
//!
//! PID 1 takes the first slot whose tree's top block hashes to the root hash that it was given; the
//! kernel checks the rest as it is read. Here all of it is checked. Hashes are kept by what a
//! block's sectors come from, so that a block is hashed once and not in each state that has it.

use std::collections::HashMap;
use std::ops::Range;

use orlop_slot::{Partition, Slot};
use orlop_verity::{BLOCK, HASH, Level, Superblock, VerityError, block_hash, levels, size};

use crate::disk::Area;
use crate::trace::SECTOR;
use crate::uki::hex;
use crate::view::{Source, View};

const BLOCK_SECTORS: usize = (BLOCK / SECTOR) as usize;
/// More hashes than this are not kept.
const HASHES_MAX: usize = 1 << 20;

type Hash = [u8; HASH];
type Sources = [Source; BLOCK_SECTORS];

/// Which slot PID 1 opens for a root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Its tree leads elsewhere, or it has none.
    Other(String),
    /// It is the one, and whole.
    Whole,
    /// It is the one, and something in it is not what the tree says.
    Damaged(String),
}

/// What is known of slots.
#[derive(Default)]
pub(crate) struct Slots {
    fits: HashMap<(Slot, u64, Hash), Fit>,
    hashes: HashMap<(u64, Sources), Hash>,
    /// What the hashes are made with.
    salt: Vec<u8>,
}

impl Slots {
    /// Whether `slot` holds the root that hashes to `root`.
    pub(crate) fn fit(&mut self, view: &View<'_>, slot: Slot, root: &Hash) -> Fit {
        let key = (slot, view.print(Area::Slot(slot)), *root);
        if let Some(fit) = self.fits.get(&key) {
            return fit.clone();
        }
        let fit = match self.judge(view, slot, root) {
            Ok(fit) => fit,
            Err(error) => Fit::Other(error.to_string()),
        };
        self.fits.insert(key, fit.clone());
        fit
    }

    fn judge(&mut self, view: &View<'_>, slot: Slot, root: &Hash) -> Result<Fit, VerityError> {
        let data = view.disk().partition(Partition::Root(slot));
        let tree = view.disk().partition(Partition::Verity(slot));
        let start = tree.start * SECTOR;
        let superblock = Superblock::read(&At { view, start })?;
        if superblock.salt != self.salt {
            self.hashes.clear();
            self.salt.clone_from(&superblock.salt);
        }
        let count = superblock.data_blocks;
        if count < 2 || count > bytes(&data) / BLOCK || size(count) > bytes(&tree) {
            return Ok(Fit::Other(format!("its superblock has {count} blocks")));
        }
        let levels = levels(count);
        let found = self.hash(view, start + BLOCK)?;
        if found != *root {
            return Ok(Fit::Other(format!("it holds root {}..", hex(&found))));
        }
        for (number, level) in levels.iter().enumerate().rev() {
            // The blocks that the level's hashes are of.
            let (below, what) = match number.checked_sub(1).and_then(|below| levels.get(below)) {
                Some(lower) => (start + lower.start, "hash block"),
                None => (data.start * SECTOR, "block"),
            };
            let wrong = self.first_wrong(view, start, level, below)?;
            if let Some(index) = wrong {
                return Ok(Fit::Damaged(format!("{what} {index} is another")));
            }
        }
        Ok(Fit::Whole)
    }

    /// The first block from byte `below` on that a hash of `level` is not of.
    fn first_wrong(
        &mut self,
        view: &View<'_>,
        tree: u64,
        level: &Level,
        below: u64,
    ) -> Result<Option<u64>, VerityError> {
        let mut block = vec![0; BLOCK as usize];
        let mut index = 0;
        while index < level.hashes {
            let at = tree + level.hash_offset(index);
            read(view, &mut block, at)?;
            for expected in block.chunks_exact(HASH) {
                if index == level.hashes {
                    break;
                }
                if self.hash(view, below + index * BLOCK)? != expected {
                    return Ok(Some(index));
                }
                index += 1;
            }
        }
        Ok(None)
    }

    /// The hash of the block at byte `at`, which is a multiple of a sector.
    fn hash(&mut self, view: &View<'_>, at: u64) -> Result<Hash, VerityError> {
        let first = at / SECTOR;
        let mut sources = [0; BLOCK_SECTORS];
        for (source, sector) in sources.iter_mut().zip(first..) {
            *source = view.source(sector);
        }
        if let Some(hash) = self.hashes.get(&(first, sources)) {
            return Ok(*hash);
        }
        let mut block = [0; BLOCK as usize];
        read(view, &mut block, at)?;
        let hash = block_hash(&self.salt, &block);
        if self.hashes.len() == HASHES_MAX {
            self.hashes.clear();
        }
        self.hashes.insert((first, sources), hash);
        Ok(hash)
    }
}

fn bytes(sectors: &Range<u64>) -> u64 {
    (sectors.end - sectors.start) * SECTOR
}

fn read(view: &View<'_>, block: &mut [u8], at: u64) -> Result<(), VerityError> {
    view.read(block, at).map_err(|error| VerityError::Read {
        part: orlop_verity::Part::Data,
        at,
        error,
    })
}

/// The disk from byte `start` on.
struct At<'v> {
    view: &'v View<'v>,
    start: u64,
}

impl orlop_verity::ReadAt for At<'_> {
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.view.read(bytes, self.start.saturating_add(offset))
    }
}
