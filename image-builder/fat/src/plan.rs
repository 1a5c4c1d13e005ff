//! What a mending comes to: sectors to be written, in an order that power may cut short anywhere.

use std::collections::BTreeMap;

use crate::SECTOR;
use crate::directory::{Entry, REMOVED};
use crate::error::FatError;
use crate::geometry::Kind;
use crate::source::ReadAt;
use crate::volume::Volume;

/// A sector as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where it is, from the volume's start; a multiple of 512.
    pub offset: u64,
    /// All of its bytes, 512.
    pub bytes: Vec<u8>,
}

/// What mends a volume. To be written while nobody has it mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mend {
    /// What is to be written: all patches of a stage in any order, then a flush, then the next
    /// stage. Whatever of it power lets through, mending anew comes to the same.
    pub stages: Vec<Vec<Patch>>,
    /// Names that are dropped, as another leads to the same clusters.
    pub twins: Vec<String>,
    /// Names that are dropped, as their clusters led astray or to those of another file, and the
    /// caller gave them up.
    pub torn: Vec<String>,
    /// How many clusters nothing led to; they are freed.
    pub lost_clusters: u32,
    /// What keeps clusters from being freed. It does not keep twins from being dropped.
    pub problem: Option<String>,
}

impl Mend {
    /// Whether nothing is to be written. There may be a problem all the same.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The patches in their order.
    pub fn patches(&self) -> impl Iterator<Item = &Patch> {
        self.stages.iter().flatten()
    }
}

/// The free count of FSINFO is not known.
const UNKNOWN: [u8; 4] = [0xFF; 4];

impl<S: ReadAt> Volume<S> {
    /// Stages that remove entries of one directory, given in its order. The last sector comes first:
    /// so an 8.3 name goes before its long name, as Linux removes them, and never stays behind.
    pub(crate) fn removals(&self, entries: &[&Entry]) -> Result<Vec<Vec<Patch>>, FatError> {
        let mut sectors: Vec<(u64, Vec<u64>)> = Vec::new();
        for slot in entries.iter().flat_map(|entry| &entry.slots) {
            let sector = slot - slot % SECTOR as u64;
            match sectors.last_mut() {
                Some((offset, slots)) if *offset == sector => slots.push(*slot),
                Some(_) | None => sectors.push((sector, vec![*slot])),
            }
        }
        let mut stages = Vec::new();
        for (sector, slots) in sectors.iter().rev() {
            let patch = self.edit(*sector, |bytes| {
                for slot in slots {
                    bytes[(slot - sector) as usize] = REMOVED;
                }
            })?;
            stages.extend(patch.map(|patch| vec![patch]));
        }
        Ok(stages)
    }

    /// Stages that free clusters. The table that is read comes last: as long as it has a cluster as
    /// in use, mending begins again. FSINFO's count comes before it, for the same reason. The other
    /// tables get its sectors as they are, as Linux writes them, too: neither Linux nor EDK2 reads
    /// them, and power may have gone before they were written.
    ///
    /// The count becomes unknown rather than right: EDK2 counts then, and so does Linux if it was
    /// mounted with `usefree`; without, it never believes the count.
    pub(crate) fn frees(&self, lost: &[u32]) -> Result<Vec<Vec<Patch>>, FatError> {
        let geometry = self.geometry();
        let width = u64::from(geometry.kind.width());
        let mut sectors: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for cluster in lost {
            let entry = u64::from(*cluster) * width;
            let within = entry % SECTOR as u64;
            let places = sectors.entry(entry - within).or_default();
            places.push(within as usize);
        }
        let mut copies: Vec<Patch> = self.forget_count(lost)?.into_iter().collect();
        let mut first = Vec::new();
        for (sector, places) in &sectors {
            let freed = self.edit(geometry.table + sector, |bytes| {
                for place in places {
                    clear(geometry.kind, &mut bytes[*place..]);
                }
            })?;
            let Some(freed) = freed else { continue };
            for number in 1..geometry.tables {
                let table = geometry.table + u64::from(number) * geometry.table_bytes;
                let copy =
                    self.edit(table + sector, |bytes| bytes.copy_from_slice(&freed.bytes))?;
                copies.extend(copy);
            }
            first.push(freed);
        }
        let stages = [copies, first].into_iter();
        Ok(stages.filter(|stage| !stage.is_empty()).collect())
    }

    fn forget_count(&self, lost: &[u32]) -> Result<Option<Patch>, FatError> {
        let Some(info) = self.geometry().info.filter(|_| !lost.is_empty()) else {
            return Ok(None);
        };
        self.edit(info, |bytes| {
            if bytes.starts_with(b"RRaA") && bytes[484..488] == *b"rrAa" {
                bytes[488..492].copy_from_slice(&UNKNOWN);
            }
        })
    }

    /// The sector at `offset` as `change` makes it, if that is another one.
    fn edit(
        &self,
        offset: u64,
        change: impl FnOnce(&mut [u8; SECTOR]),
    ) -> Result<Option<Patch>, FatError> {
        let mut before = [0; SECTOR];
        self.source().read_at(&mut before, offset)?;
        let mut after = before;
        change(&mut after);
        let bytes = after.to_vec();
        Ok((after != before).then_some(Patch { offset, bytes }))
    }
}

/// Frees the entry that `bytes` begin with. FAT32's upper 4 bits belong to nobody, and stay.
fn clear(kind: Kind, bytes: &mut [u8]) {
    match kind {
        Kind::Fat16 => bytes[..2].fill(0),
        Kind::Fat32 => {
            bytes[..3].fill(0);
            bytes[3] &= 0xF0;
        }
    }
}
