//! OCI images on a host: read, check, merge, keep.
//!
//! An image goes one way through this crate. [`source`] opens an OCI layout or
//! archive and checks every blob against its digest; `layer` reads the layers'
//! tar streams and merges them into one [`tree`] in memory, which is the only
//! place where a path from a layer is ever followed; [`store`] writes that tree
//! to a directory, whole or not at all, and finds images by name. The image
//! builder takes the same tree into a host image instead.
//!
//! It knows nothing of units, containers, networks or registries.

pub mod content;
pub mod digest;
mod error;
mod image;
mod layer;
mod limits;
pub mod reference;
pub mod rootfs;
pub mod source;
mod spool;
pub mod store;
pub mod tarball;
pub mod tree;

pub use error::{Error, Result};
pub use image::{LoadedImage, NOTES_MAX};
pub use limits::Limits;
