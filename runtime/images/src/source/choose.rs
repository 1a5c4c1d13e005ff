//! From `index.json` to the one manifest that runs on this machine.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, ImageIndex};

use super::Options;
use super::blobs::Blobs;
use crate::digest::Digest;
use crate::reference::normalise;
use crate::{Error, Result};

/// The OCI's annotation for an image's name in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's and docker's, which holds the whole name where the OCI's may
/// hold just the tag.
const FULL_NAME: &str = "io.containerd.image.name";
/// Indexes within indexes that are followed.
const DEPTH: usize = 4;
/// Indexes of one image that are read.
const INDEXES_MAX: usize = 64;

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// An image that `index.json` lists.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Normalised name.
    pub(super) reference: Option<String>,
    /// Digest of the first descriptor with that name.
    pub(super) digest: Digest,
    /// Descriptors with that name: one, or one for each kind of machine.
    descriptors: Vec<Descriptor>,
}

impl Found {
    /// Whether the source calls it that, be it by the tag alone.
    pub(super) fn is_called(&self, wanted: &str) -> bool {
        let Some(name) = &self.reference else {
            return false;
        };
        name == wanted
            || name.strip_suffix(":latest").is_some_and(|bare| {
                !bare.contains(['/', ':'])
                    && wanted.rsplit_once(':').is_some_and(|(_, tag)| tag == bare)
            })
    }
}

/// Images of `index.json` in its order.
pub(super) fn list(blobs: &Blobs, options: &Options) -> Result<Vec<Found>> {
    let bytes = blobs.document("index.json", options.limits.document_bytes)?;
    let what = format!("index.json of {}", blobs.shown());
    let mut found: Vec<Found> = Vec::new();
    for descriptor in parse_index(&bytes, &what)?.manifests() {
        let media_type = descriptor.media_type().to_string();
        if !INDEXES.contains(&media_type.as_str()) && !MANIFESTS.contains(&media_type.as_str()) {
            continue;
        }
        let digest = Digest::parse(descriptor.digest().as_ref())?;
        let reference = name(descriptor);
        let same = found
            .iter_mut()
            .find(|it| it.reference.is_some() && it.reference == reference);
        if let Some(same) = same {
            same.descriptors.push(descriptor.clone());
            continue;
        }
        found.push(Found {
            reference,
            digest,
            descriptors: vec![descriptor.clone()],
        });
    }
    if found.is_empty() {
        return Err(Error::invalid(what, "lists no image"));
    }
    Ok(found)
}

/// The descriptor of the manifest that runs on the wanted machine. One without
/// a platform may be it: its configuration will tell.
pub(super) fn manifest(
    blobs: &Blobs,
    found: &Found,
    what: &str,
    options: &Options,
) -> Result<Descriptor> {
    let mut flat = Flat::default();
    for descriptor in &found.descriptors {
        flat.take_in(blobs, descriptor, what, options, DEPTH)?;
    }
    let manifests = flat.manifests;
    let platform = |it: &Descriptor| {
        it.platform()
            .as_ref()
            .map(|it| (format!("{}/{}", it.os(), it.architecture()), it.clone()))
    };
    let wanted = format!("linux/{}", options.architecture);
    let fits = |it: &&Descriptor| platform(it).is_some_and(|(name, _)| name == wanted);
    // A variant (v3) may ask for more than the machine has.
    let plain = |it: &&Descriptor| {
        fits(it) && platform(it).is_some_and(|(_, platform)| platform.variant().is_none())
    };
    let chosen = manifests
        .iter()
        .find(plain)
        .or_else(|| manifests.iter().find(fits))
        .or_else(|| manifests.iter().find(|it| it.platform().is_none()));
    if let Some(chosen) = chosen {
        return Ok(chosen.clone());
    }
    let names: BTreeSet<String> = manifests
        .iter()
        .filter_map(platform)
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        return Err(Error::invalid(what, "its index lists no manifest"));
    }
    let found = names.into_iter().collect::<Vec<_>>().join(", ");
    Err(Error::Architecture {
        what: what.to_owned(),
        found,
        wanted,
    })
}

/// Manifests in indexes, and those in indexes in these.
#[derive(Default)]
struct Flat {
    manifests: Vec<Descriptor>,
    /// Indexes that were read: each once, however often it is listed.
    read: BTreeSet<Digest>,
}

impl Flat {
    fn take_in(
        &mut self,
        blobs: &Blobs,
        descriptor: &Descriptor,
        what: &str,
        options: &Options,
        depth: usize,
    ) -> Result<()> {
        let media_type = descriptor.media_type().to_string();
        if MANIFESTS.contains(&media_type.as_str()) {
            self.manifests.push(descriptor.clone());
            return Ok(());
        }
        if !INDEXES.contains(&media_type.as_str()) {
            return Ok(());
        }
        let digest = Digest::parse(descriptor.digest().as_ref())?;
        if !self.read.insert(digest) {
            return Ok(());
        }
        let too_many =
            self.read.len() > INDEXES_MAX || self.manifests.len() > options.limits.layers;
        if depth == 0 || too_many {
            return Err(Error::invalid(
                what,
                "its indexes are nested too deep or list too much",
            ));
        }
        let what = format!("index {digest} of {what}");
        let bytes = blobs.blob(
            digest,
            descriptor.size(),
            options.limits.document_bytes,
            &what,
        )?;
        for below in parse_index(&bytes, &what)?.manifests() {
            self.take_in(blobs, below, &what, options, depth - 1)?;
        }
        Ok(())
    }
}

fn parse_index(bytes: &[u8], what: &str) -> Result<ImageIndex> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(what, error.to_string()))
}

/// The name that a descriptor's annotations give, if it is one.
fn name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    let name = annotations
        .get(FULL_NAME)
        .or_else(|| annotations.get(REF_NAME))?;
    normalise(name).ok()
}
