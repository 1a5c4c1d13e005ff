//! Directories, as firmware lists them.

use crate::SECTOR;
use crate::error::FatError;
use crate::geometry::Root;
use crate::name::{long_name, same, short_name};
use crate::source::ReadAt;
use crate::volume::Volume;

/// Bytes of a slot.
const SLOT: usize = 32;
/// The most slots of a directory: Linux's limit of 2 MiB.
const SLOTS_MAX: usize = 65536;
/// The first byte of a slot that was removed.
pub(crate) const REMOVED: u8 = 0xE5;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;

/// A slot of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Where it is, from the volume's start.
    pub(crate) offset: u64,
    pub(crate) bytes: [u8; SLOT],
}

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The long name; the 8.3 name if there is none or it is torn.
    pub name: String,
    /// The 8.3 name, as `ORLOP_~1.EFI`.
    pub short_name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes of the file; a directory has none here.
    pub size: u32,
    /// The first of its clusters; 0 for a file without content, and such a file is what a rename has
    /// made that power interrupted before it wrote where the content is.
    pub first_cluster: u32,
    /// Where its slots are, from the volume's start: those of the long name, and last the 8.3 name's.
    pub slots: Vec<u64>,
}

/// Where a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root,
    Cluster(u32),
}

/// What is in a directory.
#[derive(Debug)]
pub(crate) struct Listing {
    /// What Linux sees: it reads on behind the directory's end.
    pub(crate) entries: Vec<Entry>,
    /// How many of them firmware sees, the first ones.
    pub(crate) seen: usize,
}

impl Entry {
    /// Where it is, if it is a directory.
    pub(crate) fn place(&self) -> Place {
        Place::Cluster(self.first_cluster)
    }

    /// Where the slot with its 8.3 name is: no two entries have the same.
    pub(crate) fn key(&self) -> u64 {
        self.slots.last().copied().unwrap_or_default()
    }
}

impl<S: ReadAt> Volume<S> {
    /// What is in a directory, in its order; `path` is from the root, with `/`, and case does not
    /// count. `.` and `..`, labels, and slots of long names without an 8.3 name are left out.
    ///
    /// # Errors
    /// [`FatError::Missing`] and [`FatError::Kind`] for another path; [`FatError::Chain`] for a
    /// directory whose clusters lead astray (EDK2 shows such a one as empty); the source's.
    pub fn directory(&self, path: &str) -> Result<Vec<Entry>, FatError> {
        let (place, name) = self.locate(path)?;
        self.firmware_entries(place, &name)
    }

    /// Where a directory is, and its name.
    pub(crate) fn locate(&self, path: &str) -> Result<(Place, String), FatError> {
        let mut here = (Place::Root, "/".to_owned());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entries = self.firmware_entries(here.0, &here.1)?;
            let entry = find(&entries, name).ok_or_else(|| FatError::Missing(path.to_owned()))?;
            if !entry.is_directory {
                let (name, expected) = (path.to_owned(), "directory");
                return Err(FatError::Kind { name, expected });
            }
            here = (entry.place(), entry.name.clone());
        }
        Ok(here)
    }

    fn firmware_entries(&self, place: Place, name: &str) -> Result<Vec<Entry>, FatError> {
        let mut listing = self.list(place, name)?;
        listing.entries.truncate(listing.seen);
        Ok(listing.entries)
    }

    /// One file or directory, by its path.
    ///
    /// # Errors
    /// As [`Volume::directory`].
    pub fn entry(&self, path: &str) -> Result<Entry, FatError> {
        let path = path.trim_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let entries = self.directory(parent)?;
        let entry = find(&entries, name).cloned();
        entry.ok_or_else(|| FatError::Missing(path.to_owned()))
    }

    /// What is in the directory at `place`; `name` is for messages.
    ///
    /// EDK2 ends a directory at a slot that begins with 0, unless it is a label's by its attributes.
    /// To Linux such a slot is a free one. They differ when power let through the later sector of an
    /// entry and not the earlier: `dirsync` waits for each, but does not flush the disk's cache.
    pub(crate) fn list(&self, place: Place, name: &str) -> Result<Listing, FatError> {
        let slots = self.slots(place, name)?;
        let mut entries = Vec::new();
        let mut seen = None;
        for (index, slot) in slots.iter().enumerate() {
            let bytes = &slot.bytes;
            let other = bytes[0] == REMOVED || bytes[11] & VOLUME_LABEL != 0;
            let dots = matches!(&bytes[..11], b".          " | b"..         ");
            if bytes[0] == 0 && !other {
                seen.get_or_insert(entries.len());
            } else if !other && !dots {
                entries.push(self.read_entry(&slots[..index], slot));
            }
        }
        let seen = seen.unwrap_or(entries.len());
        Ok(Listing { entries, seen })
    }

    fn read_entry(&self, before: &[Slot], slot: &Slot) -> Entry {
        let bytes = &slot.bytes;
        let half = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let long = long_name(before, slot);
        let (name, count) = long.unwrap_or_else(|| (short_name(slot, true), 0));
        let first = before.len().saturating_sub(count);
        let slots = before[first..].iter().chain([slot]);
        let is_directory = bytes[11] & DIRECTORY != 0;
        // FAT16 may have other things in the upper half.
        let high = match self.geometry().root {
            Root::Fixed { .. } => 0,
            Root::Chain(_) => half(20) << 16,
        };
        Entry {
            name,
            short_name: short_name(slot, false),
            is_directory,
            size: if is_directory {
                0
            } else {
                half(28) | half(30) << 16
            },
            first_cluster: half(26) | high,
            slots: slots.map(|slot| slot.offset).collect(),
        }
    }

    /// All slots of a directory.
    fn slots(&self, place: Place, name: &str) -> Result<Vec<Slot>, FatError> {
        let geometry = self.geometry();
        let first = match (place, geometry.root) {
            (Place::Root, Root::Fixed { offset, bytes }) => {
                let mut slots = Vec::new();
                self.read_slots(offset, bytes, &mut slots)?;
                return Ok(slots);
            }
            (Place::Root, Root::Chain(first)) | (Place::Cluster(first), _) => first,
        };
        let mut slots = Vec::new();
        for cluster in self.follow(first)?.whole(name)? {
            let offset = geometry.offset(cluster);
            self.read_slots(offset, geometry.cluster_bytes, &mut slots)?;
            if slots.len() > SLOTS_MAX {
                return Err(FatError::TooMany {
                    name: name.to_owned(),
                    what: "slots",
                    limit: SLOTS_MAX,
                });
            }
        }
        Ok(slots)
    }

    /// Adds the slots from `offset` on.
    fn read_slots(&self, offset: u64, bytes: u32, slots: &mut Vec<Slot>) -> Result<(), FatError> {
        for at in (0..u64::from(bytes)).step_by(SECTOR) {
            let mut sector = [0; SECTOR];
            self.source().read_at(&mut sector, offset + at)?;
            let (pieces, _) = sector.as_chunks::<SLOT>();
            for (piece, number) in pieces.iter().zip(0u64..) {
                let offset = offset + at + number * SLOT as u64;
                let bytes = *piece;
                slots.push(Slot { offset, bytes });
            }
        }
        Ok(())
    }
}

/// The entry that EDK2 opens by `name`: one with this long name before one with this 8.3 name.
fn find<'e>(entries: &'e [Entry], name: &str) -> Option<&'e Entry> {
    let long = entries.iter().find(|entry| same(&entry.name, name));
    long.or_else(|| entries.iter().find(|entry| same(&entry.short_name, name)))
}
