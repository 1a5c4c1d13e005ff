//! What can be wrong with a volume.

use std::io;

use thiserror::Error;

use crate::chain::Fault;

/// Why something could not be read.
#[derive(Debug, Error)]
pub enum FatError {
    /// The source's error.
    #[error("the boot partition cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The boot sector is not of a volume that both firmware and Linux take.
    #[error(
        "the boot sector has {found}; expected {expected}: is this the boot partition? If so, write \
         the disk anew"
    )]
    Boot {
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// No entry has this name.
    #[error("there is no {0} on the boot partition")]
    Missing(String),
    /// A directory where a file is expected, or the other way round.
    #[error("{name} on the boot partition is no {expected}")]
    Kind {
        /// The entry.
        name: String,
        /// `file` or `directory`.
        expected: &'static str,
    },
    /// A chain of clusters leads astray.
    #[error(
        "the clusters of {name} on the boot partition lead astray: cluster {cluster} {fault}; \
         remove the file with fsck.vfat and write it anew"
    )]
    Chain {
        /// The entry.
        name: String,
        /// The last cluster that was reached.
        cluster: u32,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Fewer clusters than the size asks for.
    #[error(
        "{name} on the boot partition has {clusters} clusters; expected {expected} for its size of \
         {size} bytes: its writing was interrupted, write it anew"
    )]
    Short {
        /// The entry.
        name: String,
        /// Clusters of the chain.
        clusters: usize,
        /// Clusters that the size needs.
        expected: u64,
        /// The size in bytes.
        size: u32,
    },
    /// A limit that no directory of a real boot partition comes near.
    #[error("{name} on the boot partition has more than {limit} {what}; remove some of them")]
    TooMany {
        /// The directory.
        name: String,
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}
