//! The dm-verity hash tree and its superblock, as `veritysetup format` writes
//! them (version 1, hash type 1, SHA-256, blocks of 4096 bytes).
//!
//! Format: <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>. This
//! module knows blocks and hashes, not what is in the blocks.

mod superblock;
mod tree;

#[cfg(test)]
mod tests;

use std::io;

use thiserror::Error;

pub use superblock::Superblock;
pub use tree::{Tree, build};

/// Bytes of a data block and of a hash block.
pub const BLOCK: u64 = 4096;
/// Bytes of a hash.
pub const HASH: usize = 32;

/// Bytes that superblock and tree take for `data_blocks` blocks of data.
pub fn size(data_blocks: u64) -> u64 {
    (1 + tree::levels(data_blocks).iter().sum::<u64>()) * BLOCK
}

/// Why a tree could not be made or does not match.
#[derive(Debug, Error)]
pub enum VerityError {
    /// Data or tree could not be read.
    #[error("reading for dm-verity: {0}")]
    Read(#[from] io::Error),
    /// There is no data to protect, or not whole blocks.
    #[error("dm-verity needs whole blocks of 4096 bytes and at least two, not {0} bytes")]
    Length(u64),
    /// The partition holds no superblock that we can read.
    #[error("no dm-verity superblock: {0}")]
    Superblock(&'static str),
    /// The stored tree is not that of the data.
    #[error("dm-verity: the stored tree differs from the data's, first at byte {0}")]
    Mismatch(u64),
}
