//! Where on the hash partition each level of the tree is.

use crate::{BLOCK, HASH};

/// Hashes of a block.
pub(crate) const PER_BLOCK: u64 = BLOCK / HASH as u64;

/// A level of the tree. Each of its hashes is that of a block of the level below, or of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Its first byte on the hash partition.
    pub start: u64,
    /// Number of its blocks.
    pub blocks: u64,
    /// Number of its hashes; behind the last one its last block is zero.
    pub hashes: u64,
}

impl Level {
    /// Where on the hash partition the hash of block `index` of the level below is; of the data's
    /// block, if this is level 0.
    pub fn hash_offset(&self, index: u64) -> u64 {
        self.start.saturating_add(index.saturating_mul(HASH as u64))
    }
}

/// The levels of the tree, the one nearest to the data first; the last has one block, whose hash is
/// the root hash.
pub fn levels(data_blocks: u64) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut hashes = data_blocks;
    while hashes > 1 {
        let blocks = hashes.div_ceil(PER_BLOCK);
        levels.push(Level {
            start: 0,
            blocks,
            hashes,
        });
        hashes = blocks;
    }
    let mut start = BLOCK;
    for level in levels.iter_mut().rev() {
        level.start = start;
        start = start.saturating_add(level.blocks.saturating_mul(BLOCK));
    }
    levels
}

/// Where on the hash partition the hash of data block `index` (below `data_blocks`) is: 32 bytes,
/// all in one block.
pub fn leaf_offset(data_blocks: u64, index: u64) -> u64 {
    let levels = levels(data_blocks);
    levels
        .first()
        .map_or(BLOCK, |lowest| lowest.hash_offset(index))
}

/// Bytes that superblock and tree take for `data_blocks` blocks of data.
pub fn size(data_blocks: u64) -> u64 {
    let levels = levels(data_blocks);
    // The lowest level is the last on the partition.
    levels.first().map_or(BLOCK, |lowest| {
        let bytes = lowest.blocks.saturating_mul(BLOCK);
        lowest.start.saturating_add(bytes)
    })
}
