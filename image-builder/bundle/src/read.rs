//! Reads the chunks of a bundle, one after the other.

use std::io::Read;

use crate::chunk::unpack;
use crate::head::fill;
use crate::{BundleError, Index};

/// A chunk that is the one of its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the index.
    pub number: u32,
    /// The chunk.
    pub bytes: Vec<u8>,
    /// As it stands in the bundle.
    pub compressed: Vec<u8>,
}

/// The chunks that follow a head, each checked; the bundle must end after the last. After an error
/// there is nothing more.
pub struct Chunks<'i, R> {
    index: &'i Index,
    input: R,
    next: usize,
    ended: bool,
}

impl<'i, R: Read> Chunks<'i, R> {
    /// The chunks of `index`; `input` stands behind the head.
    pub fn new(index: &'i Index, input: R) -> Self {
        Self {
            index,
            input,
            next: 0,
            ended: false,
        }
    }

    fn read(&mut self) -> Result<Option<Chunk>, BundleError> {
        let Some(entry) = self.index.entries().get(self.next) else {
            let mut more = [0];
            return match fill(&mut self.input, &mut more, "") {
                Ok(()) => Err(BundleError::Trailing),
                Err(BundleError::Cut(_)) => Ok(None),
                Err(error) => Err(error),
            };
        };
        let number = self.next as u32;
        self.next += 1;
        // No more than COMPRESSED_MAX: the index was read with that bound.
        let mut compressed = vec![0; entry.compressed as usize];
        fill(&mut self.input, &mut compressed, "its chunks")?;
        let bytes =
            unpack(entry, &compressed).map_err(|error| BundleError::Chunk { number, error })?;
        Ok(Some(Chunk {
            number,
            bytes,
            compressed,
        }))
    }
}

impl<R: Read> Iterator for Chunks<'_, R> {
    type Item = Result<Chunk, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read();
        self.ended = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}
