//! Where the chunks of a bundle go in the other slot.
//!
//! The root's partition takes both parts: the root from its start, and behind that the kernel image,
//! until it is copied to the boot partition. So nothing of an update that is under way is anywhere
//! but where it belongs, and what has come is found by looking for it, without a record.

use orlop_bundle::{Index, Part};

/// A place of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The chunk's number in the index.
    pub(super) chunk: u32,
    /// Its first byte in the root's partition.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) size: u32,
}

/// All places of an index.
#[derive(Debug)]
pub(super) struct Places {
    /// By chunk.
    sorted: Vec<Place>,
    kernel: u64,
    end: u64,
}

impl Places {
    pub(super) fn new(index: &Index) -> Places {
        let kernel = index.part_size(Part::Root);
        let mut sorted: Vec<Place> = in_order(index).collect();
        sorted.sort_unstable();
        Places {
            sorted,
            kernel,
            end: kernel + index.part_size(Part::Uki),
        }
    }

    /// The places of a chunk.
    pub(super) fn of(&self, chunk: u32) -> &[Place] {
        let start = self.sorted.partition_point(|place| place.chunk < chunk);
        let end = self.sorted.partition_point(|place| place.chunk <= chunk);
        &self.sorted[start..end]
    }

    /// The kernel image's first byte.
    pub(super) fn kernel(&self) -> u64 {
        self.kernel
    }

    /// The bytes that all of it takes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

/// The places from the first byte to the last, without a gap.
pub(super) fn in_order(index: &Index) -> impl Iterator<Item = Place> {
    let base = index.part_size(Part::Root);
    let of = move |part, base| {
        index.uses(part).map(move |place| Place {
            chunk: place.chunk,
            offset: base + place.offset,
            size: index
                .entries()
                .get(place.chunk as usize)
                .map_or(0, |entry| entry.size),
        })
    };
    of(Part::Root, 0).chain(of(Part::Uki, base))
}
