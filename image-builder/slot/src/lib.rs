//! The A/B model as pure values: the two slots, the partitions of the disk, and the file names by
//! which systemd-boot chooses between two unified kernel images; how an install
//! is made, and when it is blessed and when not: what is written in which order.
//!
//! Nothing here reads a disk, an ESP or a clock: names, units and times come in; names and steps go
//! out.

mod counted;
mod entry;
pub mod gate;
pub mod install;
mod order;
mod partition;
pub mod trial;
pub mod unread;

pub use counted::Endless;
pub use entry::{BootEntry, BootEntryError, Tries, boot_order};
pub use order::{Step, after_failing, after_passing};
pub use partition::{Partition, Slot};
