//! A small update, recorded as QEMU would, and what becomes of it when its order is broken.

use std::io::{Cursor, Write};
use std::ops::Range;

use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::time::{FatDateTime, StaticTimeProvider};
use hadris_fat::{FatVolume, FatVolumeWriteExt};
use orlop_slot::{Partition, Slot};
use orlop_verity::{Superblock, Tree, build};

use crate::testing::{Recorder, uki};
use crate::{Disk, Known, State, Trace, Version, View, log};

static CLOCK: StaticTimeProvider = StaticTimeProvider(FatDateTime {
    date: (45 << 9) | (1 << 5) | 1,
    time: 0,
    time_tenth: 0,
});
const MIB: usize = 1 << 20;
/// FAT16: FAT32 has at least 33 MiB.
const ESP: Range<usize> = MIB..9 * MIB;
const BLOCKS: usize = 200;

/// A version of the host: its root, the hash tree of that, and its image.
pub(crate) struct Build {
    root: Vec<u8>,
    tree: Tree,
    pub(crate) uki: Vec<u8>,
}

impl Build {
    fn new(seed: u8, blocks: usize) -> Build {
        let fill = |at: usize| (at / 97) as u8 ^ (at / 4096) as u8 ^ seed;
        let root: Vec<u8> = (0..blocks * 4096).map(fill).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&root).unwrap();
        let superblock = Superblock {
            uuid: [seed; 16],
            data_blocks: blocks as u64,
            salt: vec![seed; 32],
        };
        let tree = build(&file, 0, &superblock).unwrap();
        let line = format!("quiet orlop.root={}", tree.root_hash_hex());
        Build {
            root,
            tree,
            uki: uki(&line, 20_000),
        }
    }

    pub(crate) fn version(&self) -> Version {
        Version::of_uki(&self.uki).unwrap()
    }
}

/// A disk that is written while it is recorded. Small writes, as the page cache makes them.
pub(crate) struct Machine {
    pub(crate) base: tempfile::NamedTempFile,
    bytes: Vec<u8>,
    log: Recorder,
    /// How many events each step so far had.
    steps: Vec<usize>,
    events: usize,
    slot_size: usize,
}

impl Machine {
    /// A disk whose slots have room for `blocks` blocks.
    pub(crate) fn new(blocks: usize) -> Machine {
        let slot_size = (blocks * 4096).next_multiple_of(MIB) + MIB;
        let bytes = vec![0; ESP.end + 2 * slot_size + 2 * MIB];
        let mut machine = Machine {
            base: tempfile::NamedTempFile::new().unwrap(),
            bytes,
            log: Recorder::new(512),
            steps: Vec::new(),
            events: 0,
            slot_size,
        };
        machine.format();
        machine
    }

    fn slot(&self, slot: Slot) -> usize {
        match slot {
            Slot::A => ESP.end,
            Slot::B => ESP.end + self.slot_size,
        }
    }

    /// The tree is the last MiB of the slot's room.
    fn tree(&self, slot: Slot) -> usize {
        self.slot(slot) + self.slot_size - MIB
    }

    fn format(&mut self) {
        let extent = |partition: Partition| match partition {
            Partition::Esp => ESP,
            Partition::Root(slot) => self.slot(slot)..self.tree(slot),
            Partition::Verity(slot) => self.tree(slot)..self.tree(slot) + MIB,
            Partition::State => ESP.end + 2 * self.slot_size..self.bytes.len() - MIB,
        };
        let partition = |(number, own): (u32, Partition)| {
            let bytes = extent(own);
            let uuid = uuid::Uuid::parse_str(own.type_guid()).unwrap();
            let partition = gpt::partition::Partition {
                part_type_guid: gpt::partition_types::Type {
                    guid: uuid,
                    os: gpt::partition_types::OperatingSystem::None,
                },
                part_guid: uuid::Uuid::from_u128(number.into()),
                first_lba: bytes.start as u64 / 512,
                last_lba: bytes.end as u64 / 512 - 1,
                flags: 0,
                name: own.label().to_owned(),
            };
            (number, partition)
        };
        let partitions = (1..).zip(Partition::ALL).map(partition).collect();
        let mut table = gpt::GptConfig::new()
            .writable(true)
            .create_from_device(
                Cursor::new(&mut self.bytes),
                Some(uuid::Uuid::from_u128(99)),
            )
            .unwrap();
        table.update_partitions(partitions).unwrap();
        table.write().unwrap();
        let options = FatFormatOptions::new(ESP.len() as u64)
            .fat_type(FatTypeSelection::Fat16)
            .volume_id(7);
        let esp = Cursor::new(&mut self.bytes[ESP]);
        drop(FatVolumeFormatter::format(esp, options).unwrap());
        let loader = [
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/systemd/systemd-bootx64.efi",
            "loader/loader.conf",
        ];
        for path in loader {
            self.esp(|fat| fat.create(path, path.as_bytes()));
        }
        self.esp(|fat| fat.create("EFI/Linux/x", b""));
        self.esp(|fat| fat.remove("EFI/Linux/x"));
    }

    /// What is done before it is recorded.
    pub(crate) fn install(&mut self, slot: Slot, build: &Build, name: &str) {
        let (data, tree) = (self.slot(slot), self.tree(slot));
        self.bytes[data..data + build.root.len()].copy_from_slice(&build.root);
        self.bytes[tree..tree + build.tree.bytes.len()].copy_from_slice(&build.tree.bytes);
        self.esp(|fat| fat.create(&format!("EFI/Linux/{name}"), &build.uki));
    }

    fn esp<T>(&mut self, change: impl FnOnce(&mut Fat<'_>) -> T) -> T {
        let esp = Cursor::new(&mut self.bytes[ESP]);
        let volume = FatVolume::builder(esp)
            .time_provider(&CLOCK)
            .open()
            .unwrap();
        let mut fat = Fat { volume };
        let outcome = change(&mut fat);
        fat.volume.sync().unwrap();
        outcome
    }

    /// From here on it is recorded.
    pub(crate) fn begin(&mut self) {
        std::fs::write(self.base.path(), &self.bytes).unwrap();
    }

    fn flush(&mut self) {
        self.log.flush();
        self.events += 1;
        self.steps.push(self.events);
    }

    fn write(&mut self, at: usize, data: &[u8], piece: usize) {
        let padded = data.len().next_multiple_of(512);
        self.bytes[at..at + data.len()].copy_from_slice(data);
        for start in (at..at + padded).step_by(piece) {
            let end = (start + piece).min(at + padded);
            self.log.write(start as u64 / 512, &self.bytes[start..end]);
            self.events += 1;
        }
    }

    /// A change of the ESP: the blocks of 4096 bytes that differ then.
    pub(crate) fn step(&mut self, change: impl FnOnce(&mut Fat<'_>)) {
        let before = self.bytes[ESP].to_vec();
        self.esp(change);
        let changed = |at: &usize| self.bytes[ESP.start + at..][..4096] != before[*at..][..4096];
        let blocks: Vec<usize> = (0..ESP.len()).step_by(4096).filter(changed).collect();
        for at in blocks {
            let block = self.bytes[ESP.start + at..][..4096].to_vec();
            self.write(ESP.start + at, &block, 4096);
        }
        self.flush();
    }

    pub(crate) fn write_slot(&mut self, slot: Slot, build: &Build, piece: usize) {
        self.write(self.slot(slot), &build.root, piece);
        self.write(self.tree(slot), &build.tree.bytes, piece);
        self.flush();
    }

    /// A file of the state partition that has `text`.
    pub(crate) fn record(&mut self, text: &str) {
        let state = ESP.end + 2 * self.slot_size;
        self.write(state + 8192, text.as_bytes(), 4096);
        self.flush();
    }

    /// The trace, and where each step ends, its flush included.
    pub(crate) fn end(self) -> (Trace, Vec<usize>, tempfile::NamedTempFile) {
        let trace = log::read_file(self.log.finish()).unwrap();
        (trace, self.steps, self.base)
    }
}

/// The ESP while it is being changed.
pub(crate) struct Fat<'m> {
    volume: FatVolume<Cursor<&'m mut [u8]>>,
}

impl Fat<'_> {
    fn parts(path: &str) -> (Vec<&str>, &str) {
        let mut names: Vec<&str> = path.split('/').collect();
        let name = names.pop().unwrap();
        (names, name)
    }

    pub(crate) fn create(&mut self, path: &str, bytes: &[u8]) {
        let (parents, name) = Fat::parts(path);
        let mut directory = self.volume.root_dir();
        for parent in parents {
            directory = match directory.find(parent).unwrap() {
                Some(entry) => directory.open_entry(&entry).unwrap(),
                None => self.volume.create_dir(&directory, parent).unwrap(),
            };
        }
        let entry = self.volume.create_file(&directory, name).unwrap();
        let mut writer = self.volume.write_file(&entry).unwrap();
        let mut left = bytes;
        while !left.is_empty() {
            let count = writer.write(left).unwrap();
            left = &left[count..];
        }
        writer.finish().unwrap();
    }

    pub(crate) fn remove(&mut self, path: &str) {
        let entry = self.volume.open_path(path).unwrap();
        self.volume.delete(&entry).unwrap();
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let entry = self.volume.open_path(from).unwrap();
        let (parents, name) = Fat::parts(to);
        let mut directory = self.volume.root_dir();
        for parent in parents {
            let parent = directory.find(parent).unwrap().unwrap();
            directory = directory.open_entry(&parent).unwrap();
        }
        self.volume.rename(&entry, &directory, name).unwrap();
    }
}

mod tests;
