//! What is installed: the entries on the boot partition, where they lead, and what the state
//! partition has on record of installs.
//!
//! What is written when, and why in that order, is `orlop_slot`'s; here is what reads and writes.

mod before;
mod esp;
mod record;
pub(crate) mod uki;
mod volume;

pub use before::Before;
pub use esp::Esp;
pub(crate) use esp::{Listing, VFAT_PATIENCE, open_alone};
pub(crate) use record::Records;
