//! Checks a stored tree, and the data below it, from the root hash down.
//!
//! What a block says about those below it counts only once the block itself has been checked; it is
//! read once, and what was checked is what is used. Of each level the blocks below one block of the
//! level above (128 at most, 512 KiB) are in memory at a time.

use std::mem;
use std::ops::ControlFlow;

use crate::levels::PER_BLOCK;
use crate::{BLOCK, HASH, Level, Part, ReadAt, Superblock, VerityError, block_hash};

/// Checks that `tree` has this superblock and a tree with this root hash, and that `data` is what
/// the tree is of.
///
/// UUID and number of blocks are not in the root hash. A caller who knows no more than that can take
/// what [`Superblock::read`] gives: this then still finds data that is not the tree's, but
/// [`check_tree`] can take a tree for that of another number of blocks.
///
/// `progress` is told after each 512 KiB how many bytes of the data are done, and may stop it.
///
/// # Errors
/// The first thing that differs, going through the data from its start; what cannot be read; a
/// superblock with fewer than two blocks or too long a salt; [`VerityError::Stopped`].
pub fn check(
    data: &impl ReadAt,
    tree: &impl ReadAt,
    superblock: &Superblock,
    root_hash: &[u8; HASH],
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), VerityError> {
    let below = Below { data, progress };
    Walk::new(tree, superblock, Some(below))?.all(root_hash)
}

/// As [`check()`], but without the data: reads the tree alone, a 128th of the data's size.
///
/// # Errors
/// As [`check()`].
pub fn check_tree(
    tree: &impl ReadAt,
    superblock: &Superblock,
    root_hash: &[u8; HASH],
) -> Result<(), VerityError> {
    Walk::new(tree, superblock, None)?.all(root_hash)
}

/// The data below the tree, and who is told of it.
struct Below<'a> {
    data: &'a dyn ReadAt,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

struct Walk<'a> {
    tree: &'a dyn ReadAt,
    salt: &'a [u8],
    levels: Vec<Level>,
    below: Option<Below<'a>>,
    /// One for the data, then one for each level.
    buffers: Vec<Vec<u8>>,
}

impl<'a> Walk<'a> {
    fn new(
        tree: &'a dyn ReadAt,
        superblock: &'a Superblock,
        below: Option<Below<'a>>,
    ) -> Result<Self, VerityError> {
        let levels = superblock.levels()?;
        superblock.compare(tree)?;
        Ok(Self {
            tree,
            salt: &superblock.salt,
            buffers: vec![Vec::new(); levels.len() + 1],
            levels,
            below,
        })
    }

    fn all(&mut self, root_hash: &[u8; HASH]) -> Result<(), VerityError> {
        match self.levels.len().checked_sub(1) {
            Some(top) => self.level(top, 0, root_hash),
            None => self.data(0, root_hash),
        }
    }

    /// Checks the blocks of a level from number `first` on, as many as there are `hashes`, and all
    /// that is below them.
    fn level(&mut self, number: usize, first: u64, hashes: &[u8]) -> Result<(), VerityError> {
        let level = self.levels[number];
        let part = Part::Level(number);
        let mut start = level.start + first * BLOCK;
        let mut buffer = mem::take(&mut self.buffers[number + 1]);
        verified(self.tree, part, start, hashes, self.salt, &mut buffer)?;
        let mut next = first * PER_BLOCK;
        for block in buffer.chunks_exact(BLOCK as usize) {
            let count = PER_BLOCK.min(level.hashes - next);
            let (hashes, padding) = block.split_at(count as usize * HASH);
            if padding.iter().any(|byte| *byte != 0) {
                return Err(VerityError::Padding { part, at: start });
            }
            match number.checked_sub(1) {
                Some(lower) => self.level(lower, next, hashes)?,
                None => self.data(next, hashes)?,
            }
            next += count;
            start += BLOCK;
        }
        self.buffers[number + 1] = buffer;
        Ok(())
    }

    fn data(&mut self, first: u64, hashes: &[u8]) -> Result<(), VerityError> {
        let Some(Below { data, progress }) = &mut self.below else {
            return Ok(());
        };
        let start = first * BLOCK;
        let buffer = &mut self.buffers[0];
        verified(*data, Part::Data, start, hashes, self.salt, buffer)?;
        match progress(start + buffer.len() as u64) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VerityError::Stopped),
        }
    }
}

/// Fills `buffer` with the blocks from byte `start` on that have these `hashes`.
fn verified(
    from: &dyn ReadAt,
    part: Part,
    start: u64,
    hashes: &[u8],
    salt: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), VerityError> {
    buffer.resize(hashes.len() / HASH * BLOCK as usize, 0);
    from.fill_at(buffer, start)
        .map_err(|error| VerityError::Read {
            part,
            at: start,
            error,
        })?;
    let (hashes, _) = hashes.as_chunks::<HASH>();
    let blocks = buffer.chunks_exact(BLOCK as usize);
    for (at, (block, expected)) in (start..).step_by(BLOCK as usize).zip(blocks.zip(hashes)) {
        let found = block_hash(salt, block);
        if found != *expected {
            return Err(VerityError::Block {
                part,
                at,
                expected: *expected,
                found,
            });
        }
    }
    Ok(())
}
