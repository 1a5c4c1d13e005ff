//! An image that was read and checked, whole, and not yet kept anywhere.

use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;
use crate::tree::Tree;

/// An image out of a [`Source`](crate::source::Source), every digest checked.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// Normalised name (`localhost/demo:1`).
    pub reference: String,
    /// Digest of the configuration, which is the image's id.
    pub id: Digest,
    /// Digest of the manifest.
    pub digest: Digest,
    /// The configuration as its author wrote it, byte for byte.
    pub config_bytes: Vec<u8>,
    /// The same, read.
    pub config: ImageConfiguration,
    /// All layers, merged.
    pub tree: Tree,
    /// What of the image was left out and why, a sentence each, at most
    /// [`NOTES_MAX`].
    pub notes: Vec<String>,
}

/// Notes kept of one image.
pub const NOTES_MAX: usize = 100;
