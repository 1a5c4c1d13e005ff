//! Makes volumes, slot by slot.

use orlop_fat::SECTOR;

use crate::disk::Disk;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fat16,
    Fat32,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Fat16, Kind::Fat32];

/// The root directory's number where a cluster is expected.
pub(crate) const ROOT: u32 = 0;

const CLUSTER_SECTORS: u64 = 2;
pub(crate) const CLUSTER: usize = CLUSTER_SECTORS as usize * SECTOR;

/// A volume that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub(crate) disk: Disk,
    kind: Kind,
    reserved: u64,
    table_sectors: u64,
    pub(crate) clusters: u32,
}

impl Maker {
    pub(crate) fn new(kind: Kind) -> Maker {
        let (reserved, clusters, width) = match kind {
            Kind::Fat16 => (4, 4200, 2),
            Kind::Fat32 => (32, 65600, 4),
        };
        let table_sectors = ((u64::from(clusters) + 2) * width).div_ceil(SECTOR as u64);
        let mut maker = Maker {
            disk: Disk::new(0),
            kind,
            reserved,
            table_sectors,
            clusters,
        };
        let sectors = maker.data() / SECTOR as u64 + u64::from(clusters) * CLUSTER_SECTORS;
        maker.disk = Disk::new(sectors * SECTOR as u64);
        maker.boot_sector(sectors as u32);
        let (first, second) = match kind {
            Kind::Fat16 => (0xFFF8, 0xFFFF),
            Kind::Fat32 => (0x0FFF_FFF8, 0x0FFF_FFFF),
        };
        maker.set(0, first);
        maker.set(1, second);
        if kind == Kind::Fat32 {
            maker.set(2, 0x0FFF_FFFF);
        }
        maker
    }

    fn boot_sector(&mut self, sectors: u32) {
        let mut boot = [0; SECTOR];
        boot[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
        boot[3..11].copy_from_slice(b"mkfs.fat");
        boot[11..13].copy_from_slice(&512u16.to_le_bytes());
        boot[13] = CLUSTER_SECTORS as u8;
        boot[14..16].copy_from_slice(&(self.reserved as u16).to_le_bytes());
        boot[16] = 2;
        boot[21] = 0xF8;
        boot[32..36].copy_from_slice(&sectors.to_le_bytes());
        boot[510..].copy_from_slice(&[0x55, 0xAA]);
        match self.kind {
            Kind::Fat16 => {
                boot[17..19].copy_from_slice(&512u16.to_le_bytes());
                boot[22..24].copy_from_slice(&(self.table_sectors as u16).to_le_bytes());
                boot[38] = 0x29;
                boot[43..62].copy_from_slice(b"NO NAME    FAT16   ");
            }
            Kind::Fat32 => {
                boot[36..40].copy_from_slice(&(self.table_sectors as u32).to_le_bytes());
                boot[44] = 2;
                boot[48] = 1;
                boot[50] = 6;
                boot[66] = 0x29;
                boot[71..90].copy_from_slice(b"NO NAME    FAT32   ");
                let mut info = [0; SECTOR];
                info[..4].copy_from_slice(b"RRaA");
                info[484..488].copy_from_slice(b"rrAa");
                info[488..492].copy_from_slice(&(self.clusters - 1).to_le_bytes());
                info[510..].copy_from_slice(&[0x55, 0xAA]);
                self.disk.write(SECTOR as u64, &info);
                self.disk.write(6 * SECTOR as u64, &boot);
            }
        }
        self.disk.write(0, &boot);
    }

    fn data(&self) -> u64 {
        let root = match self.kind {
            Kind::Fat16 => 32,
            Kind::Fat32 => 0,
        };
        (self.reserved + 2 * self.table_sectors + root) * SECTOR as u64
    }

    pub(crate) fn offset(&self, cluster: u32) -> u64 {
        self.data() + u64::from(cluster - 2) * CLUSTER as u64
    }

    /// Where in the table of this number a cluster's entry is.
    pub(crate) fn table_entry(&self, table: u64, cluster: u32) -> u64 {
        let width = self.width() as u64;
        (self.reserved + table * self.table_sectors) * SECTOR as u64 + u64::from(cluster) * width
    }

    /// Bytes of a table's entry.
    pub(crate) fn width(&self) -> usize {
        match self.kind {
            Kind::Fat16 => 2,
            Kind::Fat32 => 4,
        }
    }

    pub(crate) fn set(&mut self, cluster: u32, value: u32) {
        for table in 0..2 {
            let at = self.table_entry(table, cluster);
            match self.kind {
                Kind::Fat16 => self.disk.write(at, &(value as u16).to_le_bytes()),
                Kind::Fat32 => self.disk.write(at, &value.to_le_bytes()),
            }
        }
    }

    pub(crate) fn get(&self, cluster: u32) -> u32 {
        let bytes = self.disk.bytes(self.table_entry(0, cluster), 4);
        match self.kind {
            Kind::Fat16 => u32::from(u16::from_le_bytes([bytes[0], bytes[1]])),
            Kind::Fat32 => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        }
    }

    fn is_last(&self, value: u32) -> bool {
        match self.kind {
            Kind::Fat16 => value >= 0xFFF8,
            Kind::Fat32 => value >= 0x0FFF_FFF8,
        }
    }

    /// The chain from `first` on; none for 0.
    pub(crate) fn chain(&self, first: u32) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while cluster != 0 && !self.is_last(cluster) {
            chain.push(cluster);
            cluster = self.get(cluster);
        }
        chain
    }

    /// Makes a chain of clusters that were free.
    pub(crate) fn allocate(&mut self, count: usize) -> Vec<u32> {
        let free = (2..self.clusters + 2).filter(|cluster| self.get(*cluster) == 0);
        let chain: Vec<u32> = free.take(count).collect();
        for pair in chain.windows(2) {
            self.set(pair[0], pair[1]);
        }
        if let Some(last) = chain.last() {
            self.set(*last, 0x0FFF_FFFF);
        }
        chain
    }

    pub(crate) fn fill(&mut self, chain: &[u32], bytes: &[u8]) {
        for (cluster, piece) in chain.iter().zip(bytes.chunks(CLUSTER)) {
            let offset = self.offset(*cluster);
            self.disk.write(offset, piece);
        }
    }

    /// Where a directory's slots are, free ones too.
    pub(crate) fn slots(&self, directory: u32) -> Vec<u64> {
        let spread = |offset: u64, bytes: usize| (offset..offset + bytes as u64).step_by(32);
        match (directory, self.kind) {
            (ROOT, Kind::Fat16) => spread(self.data() - 32 * SECTOR as u64, 32 * SECTOR).collect(),
            (first, _) => {
                let chain = self.chain(first.max(2)).into_iter();
                chain
                    .flat_map(|cluster| spread(self.offset(cluster), CLUSTER))
                    .collect()
            }
        }
    }

    /// The first `count` free slots in a row; the directory grows for them.
    pub(crate) fn free_slots(&mut self, directory: u32, count: usize) -> Vec<u64> {
        loop {
            let slots = self.slots(directory);
            let free = |offset: &u64| matches!(self.disk.bytes(*offset, 1)[0], 0 | 0xE5);
            let found = slots.windows(count).find(|run| run.iter().all(free));
            if let Some(found) = found {
                return found.to_vec();
            }
            let last = *self.chain(directory.max(2)).last().unwrap();
            let new = self.allocate(1)[0];
            self.fill(&[new], &[0; CLUSTER]);
            self.set(last, new);
        }
    }

    /// Makes an entry, and returns its first cluster.
    pub(crate) fn add(&mut self, directory: u32, name: &str, bytes: &[u8]) -> u32 {
        let chain = self.allocate(bytes.len().div_ceil(CLUSTER));
        self.fill(&chain, bytes);
        let first = chain.first().copied().unwrap_or_default();
        let short = self.short_for(directory, name);
        let slots = entry_slots(name, &short, 0x20, first, bytes.len() as u32);
        self.put(directory, &slots);
        first
    }

    pub(crate) fn add_directory(&mut self, directory: u32, name: &str) -> u32 {
        let cluster = self.allocate(1)[0];
        let dots = [
            short_slot(b".          ", 0x10, cluster, 0),
            short_slot(b"..         ", 0x10, directory, 0),
        ];
        let offset = self.offset(cluster);
        self.disk.write(offset, &dots.concat());
        let short = self.short_for(directory, name);
        self.put(directory, &entry_slots(name, &short, 0x10, cluster, 0));
        cluster
    }

    pub(crate) fn put(&mut self, directory: u32, slots: &[[u8; 32]]) -> Vec<u64> {
        let offsets = self.free_slots(directory, slots.len());
        for (offset, slot) in offsets.iter().zip(slots) {
            self.disk.write(*offset, slot);
        }
        offsets
    }

    /// An 8.3 name with a number, as Linux makes one.
    pub(crate) fn short_for(&self, directory: u32, name: &str) -> [u8; 11] {
        let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let plain = |text: &str, most: usize| -> Vec<u8> {
            let kept = text.bytes().filter(|byte| !matches!(byte, b'.' | b' '));
            let kept = kept.map(|byte| match byte {
                b'+' | b'=' | b',' => b'_',
                byte => byte.to_ascii_uppercase(),
            });
            kept.take(most).collect()
        };
        let slots = self.slots(directory).into_iter();
        let taken: Vec<Vec<u8>> = slots.map(|offset| self.disk.bytes(offset, 11)).collect();
        let with = |number: usize| {
            let mut short = [b' '; 11];
            let mut base = plain(base, 6);
            base.extend(format!("~{number}").bytes());
            short[..base.len()].copy_from_slice(&base);
            let extension = plain(extension, 3);
            short[8..8 + extension.len()].copy_from_slice(&extension);
            short
        };
        let mut all = (1..10).map(with);
        all.find(|short| !taken.contains(&short.to_vec())).unwrap()
    }
}

pub(crate) fn short_slot(name: &[u8; 11], attributes: u8, first: u32, size: u32) -> [u8; 32] {
    let mut slot = [0; 32];
    slot[..11].copy_from_slice(name);
    slot[11] = attributes;
    // 2025-01-01
    slot[24..26].copy_from_slice(&[0x21, 0x5A]);
    slot[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    slot[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    slot[28..].copy_from_slice(&size.to_le_bytes());
    slot
}

/// The slots of an entry: its long name's, and the 8.3 name's.
pub(crate) fn entry_slots(
    name: &str,
    short: &[u8; 11],
    attributes: u8,
    first: u32,
    size: u32,
) -> Vec<[u8; 32]> {
    let sum = short
        .iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(13) {
        units.push(0);
    }
    while !units.len().is_multiple_of(13) {
        units.push(0xFFFF);
    }
    let mut slots = Vec::new();
    for (index, part) in units.chunks(13).enumerate() {
        let bytes: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut slot = [0; 32];
        slot[0] = index as u8 + 1;
        slot[11] = 0x0F;
        slot[13] = sum;
        slot[1..11].copy_from_slice(&bytes[..10]);
        slot[14..26].copy_from_slice(&bytes[10..22]);
        slot[28..].copy_from_slice(&bytes[22..]);
        slots.push(slot);
    }
    if let Some(last) = slots.last_mut() {
        last[0] |= 0x40;
    }
    slots.reverse();
    slots.push(short_slot(short, attributes, first, size));
    slots
}
