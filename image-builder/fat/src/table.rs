//! The allocation table, which says of each cluster which one follows it.

use crate::error::FatError;
use crate::geometry::{Geometry, Kind};
use crate::source::ReadAt;

/// So much of the table is read at once.
const PIECE: u64 = 4096;

/// What the table says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nobody uses it.
    Free,
    /// The next one in its file.
    Next(u32),
    /// It is its file's last.
    Last,
    /// The medium is bad there. Linux takes it for [`Link::Last`] in a chain.
    Bad,
    /// A number that no cluster has.
    Outside,
}

/// A reader of the first table that keeps the piece it read last.
pub(crate) struct Table<'s, S> {
    source: &'s S,
    geometry: Geometry,
    piece: Vec<u8>,
    at: Option<u64>,
}

impl<'s, S: ReadAt> Table<'s, S> {
    pub(crate) fn new(source: &'s S, geometry: Geometry) -> Table<'s, S> {
        Table {
            source,
            geometry,
            piece: Vec::new(),
            at: None,
        }
    }

    /// What the table says of `cluster`, which exists.
    pub(crate) fn link(&mut self, cluster: u32) -> Result<Link, FatError> {
        let width = self.geometry.kind.width();
        let entry = u64::from(cluster) * u64::from(width);
        let at = entry - entry % PIECE;
        if self.at != Some(at) {
            self.at = None;
            let length = PIECE.min(self.geometry.table_bytes.saturating_sub(at));
            self.piece.resize(length as usize, 0);
            self.source
                .read_at(&mut self.piece, self.geometry.table + at)?;
            self.at = Some(at);
        }
        let start = (entry % PIECE) as usize;
        let bytes = self.piece.get(start..start + width as usize);
        Ok(self.meaning(bytes.unwrap_or_default()))
    }

    fn meaning(&self, bytes: &[u8]) -> Link {
        let value = bytes
            .iter()
            .rev()
            .fold(0, |value: u32, byte| value << 8 | u32::from(*byte));
        // Read as FAT32, whose upper 4 bits mean nothing.
        let value = match self.geometry.kind {
            Kind::Fat16 if value >= 0xFFF7 => value | 0x0FFF_0000,
            Kind::Fat16 => value,
            Kind::Fat32 => value & 0x0FFF_FFFF,
        };
        match value {
            0 => Link::Free,
            0x0FFF_FFF7 => Link::Bad,
            0x0FFF_FFF8.. => Link::Last,
            next if self.geometry.has(next) => Link::Next(next),
            _ => Link::Outside,
        }
    }
}
