//! The index: which chunks there are, and in which order they make the root and the UKI.
//!
//! ```text
//! u32  format of the index: 1
//! u32  number of chunks
//! u32  number of places in the root; then in the UKI
//! for each chunk: its SHA-256, its size in bytes (u32), and compressed (u32)
//! for each place: the chunk's number (u32)
//! ```
//!
//! All numbers are little-endian. Chunks are numbered in order of first use, the root's before the
//! UKI's, so there is one way to write an index and one order of the chunks in a bundle.

use std::collections::HashSet;

use crate::chunk::{COMPRESSED_MAX, SIZE_MAX};
use crate::{BundleError, Digest, Hex};

const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 40;
const PLACE_BYTES: usize = 4;

/// One of the two things that a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The root file system.
    Root,
    /// The unified kernel image.
    Uki,
}

/// A chunk, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Digest of the chunk itself.
    pub digest: Digest,
    /// Bytes of the chunk itself, 1 to [`SIZE_MAX`].
    pub size: u32,
    /// Bytes that it takes in this bundle, 1 to [`COMPRESSED_MAX`]. A published chunk may have been
    /// compressed otherwise.
    pub compressed: u32,
}

/// A place of a part where a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The chunk's number.
    pub chunk: u32,
    /// First byte within the part.
    pub offset: u64,
}

/// What an update from one index to another moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Chunks.
    pub chunks: u32,
    /// Bytes of them.
    pub size: u64,
    /// Bytes of them, compressed.
    pub compressed: u64,
}

/// The chunks of a bundle, and where they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(crate) entries: Vec<Entry>,
    pub(crate) root: Vec<u32>,
    pub(crate) uki: Vec<u32>,
}

impl Index {
    /// The chunks, in the order in which a bundle has them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the chunks of `part` go, from its start to its end.
    pub fn uses(&self, part: Part) -> impl Iterator<Item = Use> {
        let places = match part {
            Part::Root => &self.root,
            Part::Uki => &self.uki,
        };
        let mut next = 0;
        places.iter().map(move |chunk| {
            let offset = next;
            next += self.size(*chunk);
            Use {
                chunk: *chunk,
                offset,
            }
        })
    }

    /// Bytes of `part`.
    pub fn part_size(&self, part: Part) -> u64 {
        let end = |place: Use| place.offset + self.size(place.chunk);
        self.uses(part).last().map_or(0, end)
    }

    /// What a host lacks that has the chunks of `old` and is to have these.
    pub fn missing_from(&self, old: &Index) -> Missing {
        let there: HashSet<Digest> = old.entries.iter().map(|entry| entry.digest).collect();
        let lacking = self.entries.iter().filter(|e| !there.contains(&e.digest));
        lacking.fold(Missing::default(), |sum, entry| Missing {
            chunks: sum.chunks + 1,
            size: sum.size + u64::from(entry.size),
            compressed: sum.compressed + u64::from(entry.compressed),
        })
    }

    fn size(&self, chunk: u32) -> u64 {
        self.entries
            .get(chunk as usize)
            .map_or(0, |entry| u64::from(entry.size))
    }

    /// The written form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let places = self.root.len() + self.uki.len();
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES + self.entries.len() * ENTRY_BYTES + places * PLACE_BYTES,
        );
        let counts = [self.entries.len(), self.root.len(), self.uki.len()];
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        for count in counts {
            bytes.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.digest.0);
            bytes.extend_from_slice(&entry.size.to_le_bytes());
            bytes.extend_from_slice(&entry.compressed.to_le_bytes());
        }
        for place in self.root.iter().chain(&self.uki) {
            bytes.extend_from_slice(&place.to_le_bytes());
        }
        bytes
    }

    /// Reads the written form.
    ///
    /// # Errors
    /// [`BundleError::Index`]: another format, other lengths than the counts say, sizes out of
    /// range, chunks that are there twice, are not used, or not in order of first use.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let refuse = |why| Err(BundleError::Index(why));
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return refuse("shorter than its header");
        };
        let [format, chunks, root, uki] = [0, 4, 8, 12].map(|at| word(&header[at..]));
        if format != FORMAT {
            return refuse("of another format than 1; it needs a newer Orlop than this one");
        }
        let entry_bytes = u64::from(chunks) * ENTRY_BYTES as u64;
        let place_bytes = (u64::from(root) + u64::from(uki)) * PLACE_BYTES as u64;
        // From here on the counts are no larger than what there is.
        if entry_bytes + place_bytes != rest.len() as u64 {
            return refuse("not as long as its counts say");
        }
        let (entries, places) = rest.split_at(entry_bytes as usize);
        let (root, uki) = places.split_at(root as usize * PLACE_BYTES);
        let numbers = |places: &[u8]| places.chunks_exact(PLACE_BYTES).map(word).collect();
        let index = Self {
            entries: entries.chunks_exact(ENTRY_BYTES).map(entry).collect(),
            root: numbers(root),
            uki: numbers(uki),
        };
        index.check()?;
        Ok(index)
    }

    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let refuse = |why| Err(BundleError::Index(why));
        let mut seen = HashSet::with_capacity(self.entries.len());
        for entry in &self.entries {
            if !(1..=SIZE_MAX).contains(&entry.size)
                || !(1..=COMPRESSED_MAX).contains(&entry.compressed)
            {
                return refuse("a chunk of a size that none can have");
            }
            if !seen.insert(entry.digest) {
                return refuse("the same chunk twice");
            }
        }
        let mut used = 0;
        for place in self.root.iter().chain(&self.uki) {
            match *place {
                place if place < used => {}
                place if place == used && (place as usize) < self.entries.len() => used += 1,
                _ => return refuse("chunks not in order of first use"),
            }
        }
        if used as usize != self.entries.len() {
            return refuse("a chunk that is used nowhere");
        }
        Ok(())
    }
}

/// The number at the start of at least four bytes.
fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

fn entry(record: &[u8]) -> Entry {
    let mut digest = [0; 32];
    digest.copy_from_slice(&record[..32]);
    Entry {
        digest: Hex(digest),
        size: word(&record[32..]),
        compressed: word(&record[36..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(byte: u8) -> Entry {
        Entry {
            digest: Hex([byte; 32]),
            size: 100 + u32::from(byte),
            compressed: 50,
        }
    }

    fn index() -> Index {
        Index {
            entries: (0..3).map(entry).collect(),
            root: vec![0, 1, 0],
            uki: vec![1, 2],
        }
    }

    #[test]
    fn places_follow_each_other() {
        let offsets = |part| {
            index()
                .uses(part)
                .map(|u| (u.chunk, u.offset))
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(Part::Root), [(0, 0), (1, 100), (0, 201)]);
        assert_eq!(offsets(Part::Uki), [(1, 0), (2, 101)]);
        let sizes = [Part::Root, Part::Uki].map(|part| index().part_size(part));
        assert_eq!(sizes, [301, 203]);
        assert_eq!(Index::default().part_size(Part::Root), 0);
    }

    #[test]
    fn what_is_missing() {
        let mut old = index();
        old.entries.remove(1);
        let missing = Missing {
            chunks: 1,
            size: 101,
            compressed: 50,
        };
        assert_eq!(index().missing_from(&old), missing);
        assert_eq!(index().missing_from(&index()), Missing::default());
    }

    #[test]
    fn the_written_form_is_read_back_and_nothing_else_is() {
        let bytes = index().encode();
        assert_eq!(Index::decode(&bytes).unwrap(), index());
        for cut in 0..bytes.len() {
            assert!(Index::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let refused = |change: &dyn Fn(&mut Index), words: &str| {
            let mut index = index();
            change(&mut index);
            let error = Index::decode(&index.encode()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&|i| i.root.swap(0, 1), "order of first use");
        refused(&|i| i.uki[1] = 3, "order of first use");
        refused(&|i| i.uki[1] = u32::MAX, "order of first use");
        refused(&|i| i.uki.truncate(1), "used nowhere");
        refused(&|i| i.entries[2] = i.entries[0], "twice");
        refused(&|i| i.entries[2].size = 0, "size that none");
        refused(&|i| i.entries[2].size = SIZE_MAX + 1, "size that none");
        refused(&|i| i.entries[2].compressed = 0, "size that none");
        let mut other = bytes.clone();
        other[0] = 2;
        let error = Index::decode(&other).unwrap_err().to_string();
        assert!(error.contains("newer Orlop"), "{error}");
        let mut huge = bytes;
        huge[4..16].fill(0xff);
        assert!(Index::decode(&huge).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            header in any::<[u8; 3]>(), bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let [chunks, root, uki] = header.map(|count| u32::from(count % 4).to_le_bytes());
            let bytes = [&1u32.to_le_bytes()[..], &chunks, &root, &uki, &bytes].concat();
            if let Ok(index) = Index::decode(&bytes) {
                prop_assert_eq!(index.encode(), bytes);
            }
        }
    }
}
