//! Tar streams: members one after the other, with the extensions that image
//! tools write (PAX, GNU long names, base-256 numbers).
//!
//! Header fields are read by the `tar` crate. Extensions are read here, since
//! attribute values may hold any byte and every length needs a bound. It knows
//! nothing of what members mean.

mod number;
mod pax;
mod read;
mod write;

pub(crate) use read::{Fault, Member, Reader, What};
pub use write::write_tree;
