//! Writes a [`Tree`](orlop_images::tree::Tree) as an uncompressed EROFS volume.
//!
//! mkfs.erofs takes owners, setuid bits and capabilities from the file system
//! it reads, which without root means it loses them; here they come from the
//! tree. The output needs nothing of the kernel beyond what 5.4 has: no
//! `feature_incompat` bit is ever set.
//!
//! The format is the kernel's `fs/erofs/erofs_fs.h` and its documentation,
//! `Documentation/filesystems/erofs.rst`. Work is in two steps: [`plan`]
//! decides where everything goes (so that the caller knows the size before a
//! byte is written) and [`Plan::write`] writes it. This module must not know
//! what the tree is for.

mod dirents;
mod layout;
mod ondisk;
mod read_content;
mod write;

#[cfg(test)]
mod tests;

use std::io;

use thiserror::Error;

pub use layout::{Plan, plan};

/// Bytes of a block: the page size of every machine that Orlop runs on.
pub const BLOCK: u64 = 4096;

/// What is fixed for the whole volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Label, at most 15 bytes.
    pub label: String,
    /// The time that most inodes carry, in seconds since 1970: those that do
    /// take 32 bytes instead of 64.
    pub time: u64,
}

/// Why a tree could not be written.
#[derive(Debug, Error)]
pub enum ErofsError {
    /// The namespace of an extended attribute has no number in EROFS.
    #[error("extended attribute {0}: EROFS keeps user., trusted., security. and POSIX ACLs only")]
    XattrNamespace(String),
    /// Extended attributes too large for one inode.
    #[error(
        "extended attribute {0}: too long for EROFS (name 255 bytes, value 65535, together 256 KiB)"
    )]
    XattrTooLong(String),
    /// A file changed or went while it was read.
    #[error("reading a file's content: {0}")]
    Read(io::Error),
    /// The volume could not be written.
    #[error("writing the root file system: {0}")]
    Write(#[from] io::Error),
    /// More than 16 TiB of blocks, or a root directory that is out of reach.
    #[error("the tree does not fit into an EROFS volume: {0}")]
    TooLarge(&'static str),
}
