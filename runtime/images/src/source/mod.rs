//! Where images come from: an OCI layout directory, or an archive of one
//! (image-spec 1.1, image-layout.md).
//!
//! Every blob's digest and size are checked while it is read, and a layer's
//! `diff_id` too, before anyone gets an image. Nothing is written but
//! temporary files without names.

mod blobs;
mod choose;
mod load;

use std::path::{Path, PathBuf};

pub use crate::image::LoadedImage;

use crate::digest::Digest;
use crate::reference::normalise;
use crate::{Error, Limits, Result};
use blobs::Blobs;
use choose::Found;

/// How to read a source.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// Directory for temporary files. It needs room for the image unpacked;
    /// on a host, a directory of the state partition.
    pub spool_dir: PathBuf,
    /// Architecture wanted, in the OCI's words (`amd64`). The operating system
    /// is always `linux`.
    pub architecture: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            spool_dir: std::env::temp_dir(),
            architecture: host_architecture().to_owned(),
        }
    }
}

/// The OCI's word for the machine that this program was built for.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image on offer in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// Normalised name, if the source gives it one.
    pub reference: Option<String>,
    /// Digest of its manifest or index.
    pub digest: Digest,
}

/// An opened OCI layout or archive.
#[derive(Debug)]
pub struct Source {
    blobs: Blobs,
    options: Options,
    found: Vec<Found>,
}

impl Source {
    /// Opens a layout directory or an archive, with default options.
    ///
    /// # Errors
    /// See [`Source::open_with`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Options::default())
    }

    /// Opens a layout directory, or an archive of one: tar, plain or
    /// compressed with gzip or zstd.
    ///
    /// # Errors
    /// A file that is neither, an `index.json` that cannot be read.
    pub fn open_with(path: &Path, options: Options) -> Result<Self> {
        let blobs = Blobs::open(path, &options)?;
        let found = choose::list(&blobs, &options)?;
        Ok(Self {
            blobs,
            options,
            found,
        })
    }

    /// The images on offer, in the source's order.
    pub fn images(&self) -> Vec<ImageRef> {
        self.found
            .iter()
            .map(|found| ImageRef {
                reference: found.reference.clone(),
                digest: found.digest,
            })
            .collect()
    }

    /// Reads an image whole: the one that goes by `reference`. A source with a
    /// single image gives that one, whatever it calls it, and it is then
    /// called `reference`. Without a reference, the only image there is, by
    /// its own name.
    ///
    /// # Errors
    /// No such image or several, an image for another machine, damaged or
    /// oversized blobs, layers that cannot be merged, no space for temporary
    /// files.
    pub fn load(&self, reference: Option<&str>) -> Result<LoadedImage> {
        let wanted = reference.map(normalise).transpose()?;
        let found = self.pick(wanted.as_deref())?;
        let Some(name) = wanted.or_else(|| found.reference.clone()) else {
            let why = "the image in it has no name; give it a reference";
            return Err(Error::invalid(self.blobs.shown(), why));
        };
        load::load(&self.blobs, found, name, &self.options)
    }

    fn pick(&self, wanted: Option<&str>) -> Result<&Found> {
        let by_name = wanted.and_then(|name| self.found.iter().find(|it| it.is_called(name)));
        match (by_name, self.found.as_slice()) {
            (Some(found), _) | (None, [found]) => Ok(found),
            (None, _) => Err(Error::NoSuchImage {
                wanted: wanted.unwrap_or("(the only one)").to_owned(),
                place: self.blobs.shown(),
                known: self
                    .found
                    .iter()
                    .map(|it| {
                        it.reference
                            .clone()
                            .unwrap_or_else(|| it.digest.to_string())
                    })
                    .collect(),
            }),
        }
    }
}
