//! The disk as it was before it was recorded, and where its parts are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use orlop_slot::{Partition, Slot};

use crate::table::{self, TableError};
use crate::trace::{SECTOR, Trace};

/// More sectors than this (2 TiB) no recorded disk has.
const SECTORS_MAX: u64 = 1 << 32;

/// Why a disk cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system's own.
    #[error("{path}: {error}")]
    Io {
        /// The disk's file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// It has no partition table.
    #[error("{path}: {error}")]
    Table {
        /// The disk's file.
        path: PathBuf,
        /// What is wrong with it.
        error: TableError,
    },
    /// A partition that every disk of ours has is missing.
    #[error("{path}: there is no partition {label}")]
    Missing {
        /// The disk's file.
        path: PathBuf,
        /// Its name.
        label: &'static str,
    },
    /// The trace is another disk's.
    #[error("{path}: event {event} is past its end: is the trace of this disk?")]
    Outside {
        /// The disk's file.
        path: PathBuf,
        /// Which event.
        event: usize,
    },
    /// It is no disk: too large, or not whole sectors.
    #[error("{path}: {bytes} bytes: expected whole sectors of 512 bytes, at most 2 TiB")]
    Size {
        /// The disk's file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// A part of the disk that is judged as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Area {
    /// The partition table and its backup, each with the protective MBR's sector.
    Table,
    /// The EFI system partition.
    Esp,
    /// A slot, data and hash tree.
    Slot(Slot),
    /// What nothing of the boot path reads.
    Rest,
}

impl Area {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    pub(crate) fn index(self) -> usize {
        match self {
            Area::Table => 0,
            Area::Esp => 1,
            Area::Slot(Slot::A) => 2,
            Area::Slot(Slot::B) => 3,
            Area::Rest => 4,
        }
    }
}

/// A disk image, and what is where on it. The image is never written.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
    sectors: u64,
    partitions: Vec<(Partition, Range<u64>)>,
    /// Sorted, without a gap.
    areas: Vec<(Range<u64>, Area)>,
}

impl Disk {
    /// Opens the image and reads its partition table.
    ///
    /// # Errors
    /// It cannot be read, or is not laid out as a disk of ours.
    pub fn open(path: &Path) -> Result<Disk, DiskError> {
        let own = || path.to_owned();
        let io = |error| DiskError::Io { path: own(), error };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let sectors = bytes / SECTOR;
        if !bytes.is_multiple_of(SECTOR) || sectors > SECTORS_MAX {
            return Err(DiskError::Size { path: own(), bytes });
        }
        let read = table::read(&file).map_err(|error| DiskError::Table { path: own(), error })?;
        let mut partitions = Vec::new();
        for partition in Partition::ALL {
            let label = partition.label();
            match read.iter().find(|found| found.label == label) {
                Some(found) => partitions.push((partition, found.sectors.clone())),
                None if partition == Partition::State => {}
                None => return Err(DiskError::Missing { path: own(), label }),
            }
        }
        Ok(Disk::with(file, own(), sectors, partitions))
    }

    /// A disk with these partitions, whatever its table says.
    pub(crate) fn with(
        file: File,
        path: PathBuf,
        sectors: u64,
        partitions: Vec<(Partition, Range<u64>)>,
    ) -> Disk {
        let areas = areas(&partitions, sectors);
        Disk {
            file,
            path,
            sectors,
            partitions,
            areas,
        }
    }

    /// Its image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The sectors of a partition; none if it has no such partition.
    pub fn partition(&self, partition: Partition) -> Range<u64> {
        let found = self.partitions.iter().find(|(own, _)| *own == partition);
        found.map_or(0..0, |(_, sectors)| sectors.clone())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// In which area a sector is, and where that ends.
    pub(crate) fn area(&self, sector: u64) -> (Area, u64) {
        let place = self.areas.partition_point(|(range, _)| range.end <= sector);
        let found = self.areas.get(place);
        found.map_or((Area::Rest, u64::MAX), |(range, area)| (*area, range.end))
    }

    /// Refuses a trace that goes past the disk's end.
    ///
    /// # Errors
    /// [`DiskError::Outside`].
    pub fn fits(&self, trace: &Trace) -> Result<(), DiskError> {
        let outside = |event: &crate::Event| event.sectors().end > self.sectors;
        match trace.events().iter().position(outside) {
            None => Ok(()),
            Some(event) => Err(DiskError::Outside {
                path: self.path.clone(),
                event,
            }),
        }
    }
}

fn areas(partitions: &[(Partition, Range<u64>)], sectors: u64) -> Vec<(Range<u64>, Area)> {
    let area = |partition: &Partition| match partition {
        Partition::Esp => Area::Esp,
        Partition::Root(slot) | Partition::Verity(slot) => Area::Slot(*slot),
        Partition::State => Area::Rest,
    };
    let of = |(partition, range): &(Partition, Range<u64>)| (range.clone(), area(partition));
    let mut named: Vec<(Range<u64>, Area)> = partitions.iter().map(of).collect();
    // A header and 128 entries of 128 bytes; in front also the protective MBR.
    let backup = sectors.saturating_sub(33);
    named.push((0..34, Area::Table));
    named.push((backup..sectors, Area::Table));
    named.sort_by_key(|(range, _)| range.start);
    let mut all = Vec::new();
    let mut at = 0;
    for (range, area) in named {
        if at < range.start {
            all.push((at..range.start, Area::Rest));
        }
        at = range.end;
        all.push((range, area));
    }
    all
}
