//! Makes the chunks and the index of a bundle.

use std::collections::HashMap;
use std::io::{Read, Write};

use sha2::{Digest as _, Sha256};
use zstd::bulk::Compressor;

use crate::chunk::{LEVEL, SIZES, Sizes, cut};
use crate::{BundleError, Content, Digest, Entry, Hex, Index, Part};

/// Cuts and compresses the parts of a bundle, and writes each chunk once, as the bundle will have
/// them. It holds one chunk at a time, and the index.
pub struct Packer<W> {
    out: W,
    sizes: Sizes,
    compressor: Compressor<'static>,
    numbers: HashMap<Digest, u32>,
    index: Index,
}

impl<W: Write> Packer<W> {
    /// A packer that writes chunks to `out`.
    ///
    /// # Errors
    /// No memory for the compressor.
    pub fn new(out: W) -> Result<Self, BundleError> {
        Self::with(out, SIZES, LEVEL)
    }

    /// A packer with other sizes and another zstd level, for measuring.
    ///
    /// # Errors
    /// As [`Packer::new`].
    pub fn with(out: W, sizes: Sizes, level: i32) -> Result<Self, BundleError> {
        Ok(Self {
            out,
            sizes,
            compressor: Compressor::new(level).map_err(BundleError::Write)?,
            numbers: HashMap::new(),
            index: Index::default(),
        })
    }

    /// Adds a part; the root comes first. Gives its size and digest.
    ///
    /// # Errors
    /// `content` cannot be read, or a chunk not be written.
    pub fn add(&mut self, part: Part, content: impl Read) -> Result<Content, BundleError> {
        let mut hash = Sha256::new();
        let mut size = 0;
        for bytes in cut(content, self.sizes) {
            let bytes = bytes?;
            hash.update(&bytes);
            size += bytes.len() as u64;
            let number = self.chunk(&bytes)?;
            match part {
                Part::Root => self.index.root.push(number),
                Part::Uki => self.index.uki.push(number),
            }
        }
        Ok(Content {
            size,
            sha256: Hex(hash.finalize().into()),
        })
    }

    /// The number of a chunk, which is written if it is a new one.
    fn chunk(&mut self, bytes: &[u8]) -> Result<u32, BundleError> {
        let digest = Digest::of(bytes);
        if let Some(number) = self.numbers.get(&digest) {
            return Ok(*number);
        }
        let packed = self
            .compressor
            .compress(bytes)
            .map_err(BundleError::Write)?;
        self.out.write_all(&packed).map_err(BundleError::Write)?;
        let number = self.index.entries.len() as u32;
        self.index.entries.push(Entry {
            digest,
            size: bytes.len() as u32,
            compressed: packed.len() as u32,
        });
        self.numbers.insert(digest, number);
        Ok(number)
    }

    /// The index of all that was added, and what it was written to.
    pub fn finish(self) -> (Index, W) {
        (self.index, self.out)
    }
}
