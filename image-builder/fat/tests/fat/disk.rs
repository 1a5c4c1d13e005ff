//! A disk in memory that is mostly zeros.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use orlop_fat::{Entry, FatError, Mend, ReadAt, SECTOR, Space, Volume};

/// A sector as it is written: its offset and its bytes.
pub(crate) type Write = (u64, Vec<u8>);

/// Files by their paths.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    sectors: BTreeMap<u64, [u8; SECTOR]>,
    pub(crate) size: u64,
}

impl ReadAt for Disk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buf.len() as u64 > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut left = buf;
        while !left.is_empty() {
            let within = (at % SECTOR as u64) as usize;
            let count = (SECTOR - within).min(left.len());
            let (now, later) = left.split_at_mut(count);
            match self.sectors.get(&(at - within as u64)) {
                Some(sector) => now.copy_from_slice(&sector[within..within + count]),
                None => now.fill(0),
            }
            at += count as u64;
            left = later;
        }
        Ok(())
    }
}

impl Disk {
    pub(crate) fn new(size: u64) -> Disk {
        let sectors = BTreeMap::new();
        Disk { sectors, size }
    }

    pub(crate) fn load(path: &Path) -> Disk {
        let bytes = std::fs::read(path).unwrap();
        let mut disk = Disk::new(bytes.len() as u64);
        for (number, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                disk.write((number * SECTOR) as u64, sector);
            }
        }
        disk
    }

    pub(crate) fn store(&self, path: &Path) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(path).unwrap();
        file.set_len(self.size).unwrap();
        for (offset, bytes) in &self.sectors {
            file.write_all_at(bytes, *offset).unwrap();
        }
    }

    pub(crate) fn bytes(&self, offset: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.read_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let within = at % SECTOR as u64;
            let sector = self.sectors.entry(at - within).or_insert([0; SECTOR]);
            sector[within as usize] = *byte;
        }
    }

    /// Offsets of sectors that are not zeros.
    pub(crate) fn used(&self) -> Vec<u64> {
        self.sectors.keys().copied().collect()
    }

    /// The sectors in which `after` is another, in the order of the disk.
    pub(crate) fn changes(&self, after: &Disk) -> Vec<Write> {
        let offsets = after.sectors.keys();
        let sectors = offsets.map(|offset| (*offset, after.bytes(*offset, SECTOR)));
        sectors
            .filter(|(offset, bytes)| self.bytes(*offset, SECTOR) != *bytes)
            .collect()
    }

    pub(crate) fn apply(&mut self, mend: &Mend) {
        for patch in mend.patches() {
            assert_eq!(patch.offset % SECTOR as u64, 0);
            assert_eq!(patch.bytes.len(), SECTOR);
            self.write(patch.offset, &patch.bytes);
        }
    }

    pub(crate) fn volume(&self) -> Volume<&Disk> {
        Volume::open(self).unwrap()
    }

    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = self.volume().directory(directory).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Every file that can be read, with its path and content, and how much room there is.
    pub(crate) fn content(&self) -> Result<(Files, Space), FatError> {
        let volume = Volume::open(self)?;
        let mut files = Vec::new();
        let mut left = vec![String::new()];
        while let Some(path) = left.pop() {
            // Directories that lead into each other are as deep as one looks.
            if path.matches('/').count() > 4 {
                continue;
            }
            for entry in volume.directory(&path).unwrap_or_default() {
                let Entry { name, .. } = &entry;
                let below = format!("{path}/{name}");
                if entry.is_directory {
                    left.push(below);
                } else if let Ok(bytes) = volume.read(&entry) {
                    files.push((below, bytes));
                }
            }
        }
        files.sort();
        Ok((files, volume.space()?))
    }
}
