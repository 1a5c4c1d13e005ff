//! The partition table, as firmware and Linux read it: the primary one if its checksums are right,
//! else the backup.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use orlop_verity::ReadAt;

use crate::trace::SECTOR;

/// Neither table is whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition table: {primary}; its backup: {backup}")]
pub struct TableError {
    /// What is wrong with the first.
    pub primary: String,
    /// What is wrong with the other.
    pub backup: String,
}

/// A partition as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) label: String,
    /// In lower case.
    pub(crate) type_guid: String,
    pub(crate) sectors: Range<u64>,
}

/// Reads whichever table is whole.
pub(crate) fn read(disk: &(impl ReadAt + Length)) -> Result<Vec<Found>, TableError> {
    let primary = match read_one(disk, false) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    read_one(disk, true).map_err(|backup| TableError { primary, backup })
}

fn read_one(disk: &(impl ReadAt + Length), hide_primary: bool) -> Result<Vec<Found>, String> {
    let device = Device {
        disk,
        at: 0,
        hide_primary,
    };
    let table = GptConfig::new()
        .writable(false)
        .logical_block_size(LogicalBlockSize::Lb512)
        .open_from_device(device)
        .map_err(|error| error.to_string())?;
    let used = table.partitions().values().filter(|own| own.is_used());
    let found = used.map(|own| Found {
        label: own.name.clone(),
        type_guid: own.part_type_guid.guid.to_string(),
        sectors: own.first_lba..own.last_lba.saturating_add(1),
    });
    Ok(found.collect())
}

/// Something that has an end.
pub(crate) trait Length {
    /// In bytes.
    fn length(&self) -> io::Result<u64>;
}

impl Length for std::fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A disk as the gpt crate wants it. The crate goes to the backup only if the primary header is
/// broken, not if its entries are; so then the header is hidden from it.
struct Device<'d, D> {
    disk: &'d D,
    at: u64,
    hide_primary: bool,
}

impl<D> fmt::Debug for Device<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a disk at byte {}", self.at)
    }
}

impl<D: ReadAt + Length> Read for Device<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.disk.length()?.saturating_sub(self.at);
        // To the end of the sector, so that a hidden one is read alone.
        let most = rest.min(SECTOR - self.at % SECTOR);
        let count = buffer.len().min(most as usize);
        let Some(wanted) = buffer.get_mut(..count) else {
            return Ok(0);
        };
        match self.hide_primary && self.at / SECTOR == 1 {
            true => wanted.fill(0),
            false => self.disk.fill_at(wanted, self.at)?,
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl<D: Length> Seek for Device<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.disk.length()?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Asked for by the crate, and never used: the table is opened to be read.
impl<D> Write for Device<'_, D> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
