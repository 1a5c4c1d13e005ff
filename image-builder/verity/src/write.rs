//! Writes the hash tree to its partition while reading the data once, start to end.
//!
//! Of each level only the block that is being filled is kept. Once full it is written, and its hash
//! goes to the level above, whose block may be full with that, and so on.

use std::ops::ControlFlow;

use crate::{BLOCK, HASH, Level, Part, ReadAt, Superblock, VerityError, WriteAt, block_hash};

/// Blocks of data read at once.
const BATCH: u64 = 256;

/// Writes superblock and tree of `data`, as [`build`](crate::build) would make them, and returns the
/// root hash. The superblock is written last. Takes one processor, and little more than 1 MiB of
/// memory.
///
/// `progress` is told after each MiB how many bytes of the data are done, and may stop it.
///
/// # Errors
/// Data cannot be read or the tree not be written; a superblock with fewer than two blocks or too
/// long a salt; [`VerityError::Stopped`].
pub fn write(
    data: &impl ReadAt,
    tree: &impl WriteAt,
    superblock: &Superblock,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<[u8; HASH], VerityError> {
    let blocks = superblock.data_blocks;
    let mut writer = Writer::new(tree, superblock)?;
    let mut buffer = vec![0; (BATCH.min(blocks) * BLOCK) as usize];
    let mut root = None;
    let mut first = 0;
    while first < blocks {
        let count = (blocks - first).min(BATCH);
        let piece = &mut buffer[..(count * BLOCK) as usize];
        let at = first * BLOCK;
        data.fill_at(piece, at).map_err(|error| VerityError::Read {
            part: Part::Data,
            at,
            error,
        })?;
        for block in piece.chunks_exact(BLOCK as usize) {
            root = writer.add(block_hash(&superblock.salt, block))?;
        }
        first += count;
        if progress(first * BLOCK).is_break() {
            return Err(VerityError::Stopped);
        }
    }
    // The last block of the data ends every level.
    let root = root.ok_or(VerityError::Length(blocks * BLOCK))?;
    put(tree, Part::Superblock, 0, &superblock.block())?;
    Ok(root)
}

/// A level and the block of it that is being filled.
struct Filling {
    level: Level,
    /// Hashes that the level has got so far.
    got: u64,
    block: Vec<u8>,
}

struct Writer<'a, T> {
    tree: &'a T,
    salt: &'a [u8],
    levels: Vec<Filling>,
}

impl<'a, T: WriteAt> Writer<'a, T> {
    fn new(tree: &'a T, superblock: &'a Superblock) -> Result<Self, VerityError> {
        let filling = |level| Filling {
            level,
            got: 0,
            block: Vec::with_capacity(BLOCK as usize),
        };
        Ok(Self {
            tree,
            salt: &superblock.salt,
            levels: superblock.levels()?.into_iter().map(filling).collect(),
        })
    }

    /// Takes the hash of the next block of data; gives the root hash after the last one.
    fn add(&mut self, mut hash: [u8; HASH]) -> Result<Option<[u8; HASH]>, VerityError> {
        for (number, filling) in self.levels.iter_mut().enumerate() {
            let at = filling.level.hash_offset(filling.got) / BLOCK * BLOCK;
            filling.block.extend(hash);
            filling.got += 1;
            if filling.block.len() < BLOCK as usize && filling.got < filling.level.hashes {
                return Ok(None);
            }
            filling.block.resize(BLOCK as usize, 0);
            put(self.tree, Part::Level(number), at, &filling.block)?;
            hash = block_hash(self.salt, &filling.block);
            filling.block.clear();
        }
        Ok(Some(hash))
    }
}

fn put(tree: &impl WriteAt, part: Part, at: u64, bytes: &[u8]) -> Result<(), VerityError> {
    tree.put_at(bytes, at)
        .map_err(|error| VerityError::Write { part, at, error })
}
