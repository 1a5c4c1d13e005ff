//! Chunks: where contents are cut, and how a chunk is packed.
//!
//! The cuts are FastCDC's (2020): they depend on the bytes near them alone, so what is inserted or
//! removed somewhere moves no cut but the nearest ones. The sizes were chosen by measuring; see
//! `examples/chunk_sizes.rs` and the README's design notes.

use std::io::{self, Read};

use fastcdc::v2020::{Normalization, StreamCDC};

use crate::{BundleError, ChunkError, Digest, Entry};

/// Where contents are cut: sizes of chunks in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the smallest, but for the last of a part.
    pub min: u32,
    /// Of most, about.
    pub average: u32,
    /// Of the largest, at most [`SIZE_MAX`].
    pub max: u32,
}

/// The sizes that bundles are made with. Others would be read as well, but would share few chunks
/// with these.
pub const SIZES: Sizes = Sizes {
    min: 16 << 10,
    average: 32 << 10,
    max: 128 << 10,
};

/// Bytes of the largest chunk that is read; an interrupted fetch fetches no more than this again.
pub const SIZE_MAX: u32 = 256 << 10;

/// Bytes of the largest compressed chunk: one that could not be compressed, and zstd's own words.
pub const COMPRESSED_MAX: u32 = SIZE_MAX + (4 << 10);

/// The level that chunks are compressed at.
pub const LEVEL: i32 = 16;

/// Cuts what `content` gives, as bundles that were made with the same sizes are cut.
///
/// # Errors
/// `content` cannot be read.
pub fn cut<R: Read>(
    content: R,
    sizes: Sizes,
) -> impl Iterator<Item = Result<Vec<u8>, BundleError>> {
    let Sizes { min, average, max } = sizes;
    let [min, average, max] = [min, average, max.min(SIZE_MAX)].map(|size| size as usize);
    StreamCDC::with_level(content, min, average, max, Normalization::Level1).map(|chunk| {
        chunk
            .map(|chunk| chunk.data)
            .map_err(|error| BundleError::Read(io::Error::from(error)))
    })
}

/// Unpacks a chunk and checks that it is the one of `entry`. How `compressed` was compressed does
/// not matter.
///
/// # Errors
/// Other bytes than the chunk's, however packed.
pub fn unpack(entry: &Entry, compressed: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let packing = || ChunkError::Packing {
        expected: entry.size,
    };
    if entry.size > SIZE_MAX || compressed.len() > COMPRESSED_MAX as usize {
        return Err(packing());
    }
    let bytes = zstd::bulk::decompress(compressed, entry.size as usize).map_err(|_| packing())?;
    if bytes.len() != entry.size as usize {
        return Err(packing());
    }
    let (expected, found) = (entry.digest, Digest::of(&bytes));
    if found != expected {
        return Err(ChunkError::Digest { expected, found });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: &[u8]) -> Entry {
        Entry {
            digest: Digest::of(bytes),
            size: bytes.len() as u32,
            compressed: 1,
        }
    }

    #[test]
    fn a_chunk_is_taken_however_it_was_packed_and_no_other_is() {
        let bytes = b"some bytes, some more bytes".repeat(100);
        for level in [1, 12, 19] {
            let packed = zstd::bulk::compress(&bytes, level).unwrap();
            assert_eq!(unpack(&entry(&bytes), &packed).unwrap(), bytes);
        }
        let other = b"some bytes, same more bytes".repeat(100);
        let packed = zstd::bulk::compress(&other, 3).unwrap();
        let error = unpack(&entry(&bytes), &packed).unwrap_err();
        assert!(matches!(error, ChunkError::Digest { .. }), "{error}");
        for bad in [&packed[..packed.len() - 1], b"", b"none"] {
            let error = unpack(&entry(&other), bad).unwrap_err();
            assert!(matches!(error, ChunkError::Packing { .. }), "{error}");
        }
        for wrong in [2699, 2701] {
            let wrong = Entry {
                size: wrong,
                ..entry(&other)
            };
            assert!(unpack(&wrong, &packed).is_err());
        }
        // What unpacks to more than it should, by far.
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(unpack(&entry(&other), &bomb).is_err());
    }

    #[test]
    fn cuts_move_only_near_a_change() {
        let bytes = noise(1 << 20);
        let digests = |bytes: &[u8]| -> Vec<Digest> {
            let chunks = cut(bytes, SIZES);
            chunks.map(|chunk| Digest::of(&chunk.unwrap())).collect()
        };
        let before = digests(&bytes);
        assert!((20..60).contains(&before.len()), "{}", before.len());
        let inserted = [&bytes[..500_000], b"something", &bytes[500_000..]].concat();
        let after = digests(&inserted);
        let new = after.iter().filter(|digest| !before.contains(digest));
        assert!(new.count() <= 2);
        let sizes = cut(&bytes[..], SIZES).map(|chunk| chunk.unwrap().len() as u32);
        let sizes: Vec<u32> = sizes.collect();
        let (last, others) = sizes.split_last().unwrap();
        assert!(*last <= SIZES.max);
        assert!(
            others
                .iter()
                .all(|size| (SIZES.min..=SIZES.max).contains(size))
        );
    }

    /// Bytes that look random and are always the same.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    }
}
