//! The dm-verity hash tree: building, writing and checking it, as `veritysetup format` writes it
//! (version 1, hash type 1, SHA-256, blocks of 4096 bytes).
//!
//! ```text
//! hash partition
//!   superblock, zeros to the end of its block              (superblock)
//!   top level: one block, whose hash is the root hash      (levels)
//!   ...
//!   level 0: the hashes of the data's blocks, 128 a block
//! ```
//!
//! Who makes an image [`build`]s the tree in memory, on all processors. A host [`write()`]s it beside
//! the data that it has just received, and [`check()`]s it, within a few MiB of memory however much
//! data there is.
//!
//! Format: <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity>. This crate knows blocks and
//! hashes. It must not know what is in the blocks, nor where a partition is; nothing here flushes.

mod at;
mod check;
mod error;
mod levels;
mod superblock;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use at::{ReadAt, WriteAt};
pub use check::{check, check_tree};
pub use error::{Part, VerityError};
pub use levels::{Level, leaf_offset, levels, size};
pub use superblock::Superblock;
pub use tree::{Tree, build};
pub use write::write;

/// Bytes of a data block and of a hash block.
pub const BLOCK: u64 = 4096;
/// Bytes of a hash.
pub const HASH: usize = 32;

/// The hash of a block, of data or of hashes.
pub fn block_hash(salt: &[u8], block: &[u8]) -> [u8; HASH] {
    Sha256::new()
        .chain_update(salt)
        .chain_update(block)
        .finalize()
        .into()
}
