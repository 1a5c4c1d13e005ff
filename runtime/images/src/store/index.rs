//! `index.json` of a store, and how a store's files are named; shared with the
//! image builder, which bakes a store into a host image.

use serde::{Deserialize, Serialize};

use crate::image::LoadedImage;
use crate::tree::{Content, Meta, Node, PathError, Tree};
use crate::{Error, Result};

/// Name of the list of images in a store.
pub const INDEX: &str = "index.json";
/// Name of an image's configuration in its directory.
pub const CONFIG: &str = "config.json";
/// Name of an image's file tree in its directory.
pub const ROOTFS: &str = "rootfs";

/// An image, as `index.json` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexEntry {
    /// Normalised name.
    pub reference: String,
    /// `sha256:` digest of the configuration; its hex digits name the image's
    /// directory.
    pub id: String,
    /// `sha256:` digest of the manifest.
    pub digest: String,
    /// The OCI's word for the machine it runs on (`amd64`).
    pub architecture: String,
    /// Bytes of all files, unpacked.
    pub size: u64,
    /// When it was made, RFC 3339, as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// The whole of `index.json`. A key that a later version added is passed over:
/// an older version reads it after the host has gone back to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) images: Vec<IndexEntry>,
}

impl From<&LoadedImage> for IndexEntry {
    fn from(image: &LoadedImage) -> Self {
        Self {
            reference: image.reference.clone(),
            id: image.id.to_string(),
            digest: image.digest.to_string(),
            architecture: image.config.architecture().to_string(),
            size: image.tree.content_bytes(),
            created: image.config.created().clone(),
        }
    }
}

/// The bytes of `index.json` for these images, sorted by reference.
///
/// # Errors
/// Two images of one name.
pub fn index_json(entries: &[IndexEntry]) -> Result<Vec<u8>> {
    let mut images = entries.to_vec();
    images.sort_by(|a, b| a.reference.cmp(&b.reference));
    if let Some([one, _]) = images
        .array_windows::<2>()
        .find(|[one, two]| one.reference == two.reference)
    {
        let why = "is given to two images; give each its own reference";
        return Err(Error::invalid(
            format!("image reference {:?}", one.reference),
            why,
        ));
    }
    let mut bytes = serde_json::to_vec_pretty(&Index { images })
        .map_err(|error| Error::io(format!("write {INDEX}"), error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The image's own directory of a store, as a tree to graft into another:
/// `<hex of id>/config.json` and `<hex of id>/rootfs/…`.
///
/// # Errors
/// An image so deep that its paths are too long below the store's.
pub fn layout(image: &LoadedImage) -> std::result::Result<Tree, PathError> {
    let base = image.id.hex();
    let mut tree = Tree::new();
    tree.put(base.as_bytes(), Node::dir(Meta::with_mode(0o755)))?;
    let config = Content::from_bytes(image.config_bytes.as_slice());
    let config = Node::file(Meta::with_mode(0o644), config);
    tree.put(format!("{base}/{CONFIG}").as_bytes(), config)?;
    tree.graft(format!("{base}/{ROOTFS}").as_bytes(), &image.tree)?;
    Ok(tree)
}
