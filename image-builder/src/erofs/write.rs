//! Writes a planned volume.

use std::io::{Seek, SeekFrom, Write};

use orlop_images::tree::{Kind, NodeId};

use super::layout::{Plan, Planned, names, outside};
use super::ondisk::{
    CHECKSUM_AT, FIRST_INODE, SUPER_OFFSET, crc32c, encode_inode, encode_superblock, file_type,
};
use super::read_content::for_each_piece;
use super::{BLOCK, ErofsError, dirents};

impl Plan<'_> {
    /// Writes the volume at the place where `out` stands; [`Plan::size`] bytes
    /// of it, which must read as zeros before.
    ///
    /// # Errors
    /// Contents that cannot be read any more; errors of `out`.
    pub fn write<W: Write + Seek>(&self, out: &mut W) -> Result<(), ErofsError> {
        let base = out.stream_position()?;
        out.write_all(&self.metadata()?)?;
        for &id in &self.data {
            let Some(place) = self.inodes.get(&id).map(|planned| &planned.place) else {
                continue;
            };
            out.seek(SeekFrom::Start(base + u64::from(place.block) * BLOCK))?;
            self.data_of(id, 0, outside(place), |piece| Ok(out.write_all(piece)?))?;
        }
        out.seek(SeekFrom::Start(base + self.size()))?;
        Ok(())
    }

    /// All metadata blocks: superblock, inodes, inline tails.
    fn metadata(&self) -> Result<Vec<u8>, ErofsError> {
        let mut meta = vec![0u8; (self.meta_blocks * BLOCK) as usize];
        for (&id, Planned { place, xattrs, .. }) in &self.inodes {
            let head = encode_inode(self.tree.node(id), place, xattrs, &self.volume);
            let mut at = place.offset as usize;
            meta[at..at + head.len()].copy_from_slice(&head);
            at += head.len();
            if place.inline_tail {
                let start = outside(place);
                self.data_of(id, start, place.size - start, |piece| {
                    meta[at..at + piece.len()].copy_from_slice(piece);
                    at += piece.len();
                    Ok(())
                })?;
            }
        }
        let superblock = encode_superblock(&self.volume, self.root_nid, self.inodes(), self.blocks);
        let at = SUPER_OFFSET as usize;
        meta[at..FIRST_INODE as usize].copy_from_slice(&superblock);
        let sum = crc32c(&meta[at..BLOCK as usize]);
        meta[at + CHECKSUM_AT..at + CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        Ok(meta)
    }

    /// Hands out `len` bytes of an inode's data from `offset`.
    fn data_of(
        &self,
        id: NodeId,
        offset: u64,
        len: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), ErofsError>,
    ) -> Result<(), ErofsError> {
        let range = offset as usize..(offset + len) as usize;
        match &self.tree.node(id).kind {
            Kind::File(content) => for_each_piece(content, offset, len, each),
            Kind::Symlink(target) => each(&target[range]),
            Kind::Dir(_) => each(&self.directory_data(id)[range]),
            Kind::Char(_) | Kind::Block(_) | Kind::Fifo => Ok(()),
        }
    }

    fn directory_data(&self, id: NodeId) -> Vec<u8> {
        let Some(children) = self.tree.node(id).entries() else {
            return Vec::new();
        };
        let entries: Vec<dirents::Entry<'_>> = names(children)
            .into_iter()
            .map(|(name, child)| {
                let target = match child {
                    Some(child) => child,
                    None if name == b"." => id,
                    None => self.inodes.get(&id).map_or(id, |planned| planned.parent),
                };
                let nid = self
                    .inodes
                    .get(&target)
                    .map_or(0, |planned| planned.place.nid());
                dirents::Entry {
                    name,
                    nid,
                    file_type: file_type(&self.tree.node(target).kind),
                }
            })
            .collect();
        dirents::encode(&entries)
    }
}
