//! From a manifest to a merged tree.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};

use super::blobs::Blobs;
use super::choose::{self, Found};
use super::{LoadedImage, Options};
use crate::digest::{Digest, Hashing};
use crate::layer::{Budget, Capped, Change, apply, decoder, read_layer};
use crate::spool::Spool;
use crate::tree::Tree;
use crate::{Error, Result};

/// Reads the image `found` whole and calls it `reference`.
pub(super) fn load(
    blobs: &Blobs,
    found: &Found,
    reference: String,
    options: &Options,
) -> Result<LoadedImage> {
    let what = format!("image {reference:?} of {}", blobs.shown());
    let descriptor = choose::manifest(blobs, found, &what, options)?;
    let digest = Digest::parse(descriptor.digest().as_ref())?;
    let limits = &options.limits;
    let bytes = blobs.blob(
        digest,
        descriptor.size(),
        limits.document_bytes,
        &format!("manifest of {what}"),
    )?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid(format!("manifest of {what}"), error.to_string()))?;
    let (id, config_bytes, config) = configuration(blobs, &manifest, &what, options)?;
    let diff_ids = config.rootfs().diff_ids();
    let layers = manifest.layers();
    if layers.len() > limits.layers {
        let (found, limit) = (
            layers.len().to_string(),
            format!("{} layers", limits.layers),
        );
        return Err(Error::TooLarge {
            what,
            found: format!("{found} layers"),
            limit,
        });
    }
    if layers.len() != diff_ids.len() {
        let why = format!(
            "its manifest has {} layers, and its configuration diff_ids for {}",
            layers.len(),
            diff_ids.len()
        );
        return Err(Error::invalid(what, why));
    }
    let mut tree = Tree::bounded(limits.entries);
    let mut spool = Spool::new_in(&options.spool_dir)?;
    let mut budget = Budget::new(limits);
    for (number, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let what = format!("layer {} of {what}", number + 1);
        let diff_id = Digest::parse(diff_id)?;
        let changes = changes(blobs, layer, diff_id, &what, &mut spool, &mut budget)?;
        apply(&mut tree, changes).map_err(|error| Error::invalid(what, error.to_string()))?;
    }
    for device in tree.take_devices() {
        let path = String::from_utf8_lossy(&device).into_owned();
        budget.note(format!(
            "device /{path} was left out: the runtime makes a container's /dev"
        ));
    }
    let notes = budget.notes;
    Ok(LoadedImage {
        reference,
        id,
        digest,
        config_bytes,
        config,
        tree,
        notes,
    })
}

/// Reads the configuration and checks that the image runs here.
fn configuration(
    blobs: &Blobs,
    manifest: &ImageManifest,
    what: &str,
    options: &Options,
) -> Result<(Digest, Vec<u8>, ImageConfiguration)> {
    let descriptor = manifest.config();
    let what_config = format!("configuration of {what}");
    let media_type = descriptor.media_type().to_string();
    if !matches!(
        media_type.as_str(),
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
    ) {
        let why = format!("is of media type {media_type:?}: an artifact, not a container image");
        return Err(Error::invalid(what_config, why));
    }
    let id = Digest::parse(descriptor.digest().as_ref())?;
    let bytes = blobs.blob(
        id,
        descriptor.size(),
        options.limits.config_bytes,
        &what_config,
    )?;
    let config: ImageConfiguration = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid(what_config, error.to_string()))?;
    let found = format!("{}/{}", config.os(), config.architecture());
    let wanted = format!("linux/{}", options.architecture);
    if found != wanted {
        return Err(Error::Architecture {
            what: what.to_owned(),
            found,
            wanted,
        });
    }
    Ok((id, bytes, config))
}

/// Reads a layer, checks digest, size and diff_id.
fn changes(
    blobs: &Blobs,
    layer: &Descriptor,
    diff_id: Digest,
    what: &str,
    spool: &mut Spool,
    budget: &mut Budget,
) -> Result<Vec<Change>> {
    let media_type = layer.media_type().to_string();
    let is_layer = media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.");
    if !is_layer || media_type.ends_with("+encrypted") {
        let why = format!("is of media type {media_type:?}; tar, tar+gzip and tar+zstd are read");
        return Err(Error::invalid(what, why));
    }
    let digest = Digest::parse(layer.digest().as_ref())?;
    blobs.stream(digest, layer.size(), what, |blob| {
        let mut left = budget.unpacked_bytes;
        let inner = decoder(blob).map_err(|error| budget.read_error(what, error))?;
        let mut plain = Hashing::new(Capped {
            inner,
            left: &mut left,
        });
        let changes = read_layer(&mut plain, what, spool, budget)?;
        let (found, _) = plain
            .finish()
            .map_err(|error| budget.read_error(what, error))?;
        budget.unpacked_bytes = left;
        if found != diff_id {
            let (expected, found) = (format!("diff_id {diff_id}"), found.to_string());
            return Err(Error::Damaged {
                what: what.to_owned(),
                expected,
                found,
            });
        }
        Ok(changes)
    })
}
