//! Why a bundle cannot be read.

use std::io;

use thiserror::Error;

use crate::{FORMAT, ManifestError};

/// Why a bundle, or its head, cannot be read or made.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The bundle could not be read, or what it is made of.
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    /// It could not be written.
    #[error("writing: {0}")]
    Write(#[source] io::Error),
    /// It ends early.
    #[error("cut off within {0}; fetch it again")]
    Cut(&'static str),
    /// Something else.
    #[error("no update bundle: it does not begin as one; `orlop-image build --sign KEY` makes one")]
    Foreign,
    /// A later format, or an invented one.
    #[error("bundle of format {0}, expected {FORMAT}; it needs a newer Orlop than this one")]
    Format(u32),
    /// A part that is larger than any real one.
    #[error("{what}: {found} bytes, expected at most {most}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Bytes that it claims.
        found: u64,
        /// Bytes that it may have.
        most: u64,
    },
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signatures are not in the form that they are written in.
    #[error("signatures: {0}; fetch the bundle again")]
    Signatures(&'static str),
    /// The index is not the manifest's, or cannot be.
    #[error("index: {0}; fetch the bundle again")]
    Index(&'static str),
    /// A chunk.
    #[error("chunk {number}: {error}")]
    Chunk {
        /// Its number in the index.
        number: u32,
        /// What is wrong with it.
        error: ChunkError,
    },
    /// The file goes on after its last chunk.
    #[error("there is more after the last chunk; fetch the bundle again")]
    Trailing,
}

/// Why the bytes that came for a chunk are not it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// It cannot be unpacked to the size that it has.
    #[error("not {expected} bytes in zstd; fetch it again")]
    Packing {
        /// The chunk's size in bytes.
        expected: u32,
    },
    /// It is another one, or damaged.
    #[error("its SHA-256 is {found}, expected {expected}; fetch it again")]
    Digest {
        /// The chunk's digest.
        expected: crate::Digest,
        /// That of what came.
        found: crate::Digest,
    },
}
