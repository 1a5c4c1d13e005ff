//! Builds the hash tree: the hashes of all data blocks, packed 128 to a
//! block, the hashes of those blocks, and so on to the one at the top.

use std::io;
use std::thread;

use crate::error::hex;
use crate::{BLOCK, HASH, Part, ReadAt, Superblock, VerityError, block_hash};

/// Blocks read at once by one thread.
const BATCH: u64 = 256;

/// A superblock, its tree, and the hash that stands for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What goes at the start of the hash partition.
    pub bytes: Vec<u8>,
    /// Hash of the topmost block.
    pub root_hash: [u8; HASH],
}

impl Tree {
    /// The root hash in hexadecimal.
    pub fn root_hash_hex(&self) -> String {
        hex(&self.root_hash)
    }
}

/// Hashes `superblock.data_blocks` blocks of `data` from byte `offset`.
///
/// # Errors
/// Fewer than two blocks, too long a salt, or `data` cannot be read that far.
pub fn build(
    data: &(impl ReadAt + Sync),
    offset: u64,
    superblock: &Superblock,
) -> Result<Tree, VerityError> {
    superblock.levels()?;
    let mut level = pad(hash_data(data, offset, superblock)?);
    let mut stack = vec![level.clone()];
    while level.len() as u64 > BLOCK {
        level = pad(hash_blocks(&level, &superblock.salt));
        stack.push(level.clone());
    }
    let mut bytes = superblock.block().to_vec();
    for level in stack.iter().rev() {
        bytes.extend_from_slice(level);
    }
    Ok(Tree {
        bytes,
        root_hash: block_hash(&superblock.salt, &level),
    })
}

/// The hashes of all data blocks; the work is shared between the processors.
fn hash_data(
    data: &(impl ReadAt + Sync),
    offset: u64,
    superblock: &Superblock,
) -> Result<Vec<u8>, VerityError> {
    let blocks = superblock.data_blocks;
    let workers = thread::available_parallelism()
        .map_or(1, |count| count.get() as u64)
        .min(16);
    let share = blocks.div_ceil(workers).next_multiple_of(BATCH);
    let salt = superblock.salt.as_slice();
    let failed = |at: u64, error: io::Error| VerityError::Read {
        part: Part::Data,
        at,
        error,
    };
    let part = |first: u64| -> Result<Vec<u8>, VerityError> {
        let end = (first + share).min(blocks);
        let mut hashes = Vec::with_capacity(((end.saturating_sub(first)) * HASH as u64) as usize);
        let mut buffer = vec![0u8; (BATCH * BLOCK) as usize];
        let mut at = first;
        while at < end {
            let piece = &mut buffer[..((end - at).min(BATCH) * BLOCK) as usize];
            data.fill_at(piece, offset + at * BLOCK)
                .map_err(|error| failed(at * BLOCK, error))?;
            hashes.extend(hash_blocks(piece, salt));
            at += BATCH;
        }
        Ok(hashes)
    };
    let parts: Vec<Result<Vec<u8>, VerityError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|n| scope.spawn(move || part(n * share)))
            .collect();
        running
            .into_iter()
            .zip(0..)
            .map(|(worker, n)| {
                let lost = || failed(n * share * BLOCK, io::Error::other("a hashing thread died"));
                worker.join().unwrap_or_else(|_| Err(lost()))
            })
            .collect()
    });
    let mut hashes = Vec::with_capacity((blocks * HASH as u64) as usize);
    for part in parts {
        hashes.extend(part?);
    }
    Ok(hashes)
}

fn pad(mut hashes: Vec<u8>) -> Vec<u8> {
    hashes.resize(hashes.len().next_multiple_of(BLOCK as usize), 0);
    hashes
}

fn hash_blocks(blocks: &[u8], salt: &[u8]) -> Vec<u8> {
    blocks
        .chunks(BLOCK as usize)
        .flat_map(|block| block_hash(salt, block))
        .collect()
}
