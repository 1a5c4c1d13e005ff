//! What can go wrong, and where.

use std::{fmt, io};

use thiserror::Error;

use crate::HASH;

/// What of data and tree an error is about. Offsets count from the start of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A block of the data.
    Data,
    /// The first block of the hash partition.
    Superblock,
    /// A block of this level of the tree; level 0 has the hashes of the data.
    Level(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Data => f.write_str("the data"),
            Part::Superblock => f.write_str("the superblock"),
            Part::Level(level) => write!(f, "level {level} of the hash tree"),
        }
    }
}

/// Why a tree could not be made or does not match.
#[derive(Debug, Error)]
pub enum VerityError {
    /// Data or tree could not be read; a part that is cut off is an
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
    #[error("dm-verity: reading {part} at byte {at}: {error}")]
    Read {
        /// What was read.
        part: Part,
        /// From which byte.
        at: u64,
        /// Why it failed.
        error: io::Error,
    },
    /// The tree could not be written.
    #[error("dm-verity: writing {part} at byte {at}: {error}")]
    Write {
        /// What was written.
        part: Part,
        /// To which byte.
        at: u64,
        /// Why it failed.
        error: io::Error,
    },
    /// There is too little data to protect, or more than a file can have.
    #[error("dm-verity is for two blocks of 4096 bytes or more, up to 8 EiB, not for {0} bytes")]
    Length(u64),
    /// The partition holds no superblock that we can read.
    #[error("no dm-verity superblock: {0}")]
    Superblock(&'static str),
    /// The partition holds the superblock of another tree.
    #[error("dm-verity: {what} in the stored superblock is {found}, not {expected}")]
    OtherSuperblock {
        /// Which field.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What is stored.
        found: String,
    },
    /// A block is not the one that the level above it (or the root hash) stands for.
    #[error(
        "dm-verity: the block of {part} at byte {at} has the hash {}, not {}",
        hex(.found),
        hex(.expected)
    )]
    Block {
        /// What the block is of.
        part: Part,
        /// Its first byte.
        at: u64,
        /// The hash that is stored above it.
        expected: [u8; HASH],
        /// Its own hash.
        found: [u8; HASH],
    },
    /// There is something behind a block's last hash.
    #[error("dm-verity: the block of {part} at byte {at} is not zero behind its last hash")]
    Padding {
        /// Of which level the block is.
        part: Part,
        /// Its first byte.
        at: u64,
    },
    /// The caller wanted no more of it.
    #[error("dm-verity: stopped")]
    Stopped,
}

/// `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
