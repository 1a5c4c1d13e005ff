//! Images kept on a file system.
mod index;

pub use index::{CONFIG, INDEX, IndexEntry, ROOTFS, index_json, layout};

use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

/// An image in a store.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Normalised name (`localhost/demo:1`).
    pub reference: String,
    /// `sha256:` digest of its configuration.
    pub id: String,
    /// All that `index.json` says of it.
    pub entry: IndexEntry,
    /// Its unpacked file tree, not to be written to.
    pub rootfs: PathBuf,
    /// Its configuration.
    pub config: ImageConfiguration,
}
