//! What is on the disk: partitions, verity superblocks, the table, ext4's
//! superblock. Reading and judging; nothing here mounts.

pub(crate) mod ext4;
pub mod gpt;
pub(crate) mod partitions;
pub mod verity;
