//! The A/B model as pure values: the two slots, the partitions of the disk, and the file names by
//! which systemd-boot chooses between two unified kernel images.
//!
//! Nothing here reads a disk or an ESP, and nothing decides when to bless or to roll back: names
//! come in, names go out.

mod entry;
mod partition;

pub use entry::{BootEntry, BootEntryError, Tries, boot_order};
pub use partition::{Partition, Slot};
