//! Growing the last partition to the end of the disk, safely against a cut at
//! any write (I4).
//!
//! The order is the point, and no crate offers it: the backup table at the
//! disk's new end first, flush, then the primary, flush. Until the backup is
//! whole the old primary stands; while the primary is half written the backup
//! stands (the kernel is told to believe it by `gpt` on its command line, and
//! [`plan`] does too). A second run finds nothing left to write or finishes
//! what was begun.
//!
//! Layout by the UEFI specification 2.10, section 5.3.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// The most bytes of entries that are believed: 128 entries of 128 bytes is
/// what everybody writes.
const MAX_ENTRIES_BYTES: usize = 1024 * 128;
/// Partitions end on this boundary, in bytes.
const ALIGNMENT_BYTES: u64 = 1024 * 1024;

/// Why the table is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk could not be read or written.
    #[error("partition table: {0}")]
    Io(#[from] io::Error),
    /// Neither table is whole.
    #[error("partition table: neither the primary nor the backup is whole: {0}")]
    NoTable(&'static str),
    /// The table is whole but not to be grown.
    #[error("partition table: {0}")]
    Unsuitable(String),
}

/// The disk: a block device or a plain file.
#[derive(Debug)]
pub struct Disk<'a> {
    /// Opened for reading and writing.
    pub file: &'a File,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its logical sector, 512 or 4096 bytes.
    pub sector: u64,
}

/// Where the grown partition is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// Its length.
    pub length: u64,
}

/// What is to be written, in order; empty when the disk is as wanted.
#[derive(Debug)]
pub struct Plan {
    /// The partition as it is after the writes.
    pub extent: Extent,
    /// Whether the partition itself becomes longer.
    pub grows: bool,
    /// Groups of writes (byte offset, content); a flush follows each group.
    pub groups: Vec<Vec<(u64, Vec<u8>)>>,
}

/// One table as read: the header's sector and the entries.
struct Table {
    header: Vec<u8>,
    entries: Vec<u8>,
}

/// Grows the partition that is named `name`, if it is the last one, to the end
/// of the disk.
///
/// # Errors
/// [`Error`]; the disk's table is then whole as before.
pub fn grow(disk: &Disk<'_>, name: &str) -> Result<Plan, Error> {
    let plan = plan(disk, name)?;
    for group in &plan.groups {
        for (offset, bytes) in group {
            disk.file.write_all_at(bytes, *offset)?;
        }
        disk.file.sync_all()?;
    }
    Ok(plan)
}

/// Works out the writes of [`grow`] without doing them.
///
/// # Errors
/// [`Error`].
pub fn plan(disk: &Disk<'_>, name: &str) -> Result<Plan, Error> {
    if !matches!(disk.sector, 512 | 4096) || disk.bytes / disk.sector < 128 {
        return Err(Error::Unsuitable(format!(
            "a disk of {} bytes with sectors of {}: expected at least 128 sectors of 512 or 4096",
            disk.bytes, disk.sector
        )));
    }
    let last_lba = disk.bytes / disk.sector - 1;
    let primary = read_table(disk, 1);
    let backup = read_table(disk, last_lba);
    let table = match (&primary, &backup) {
        (Ok(table), _) | (Err(_), Ok(table)) => table,
        (Err(why), Err(_)) => return Err(Error::NoTable(why)),
    };
    let entry_bytes = u64::from(u32_at(&table.header, 84));
    let entries_sectors = (table.entries.len() as u64).div_ceil(disk.sector);
    let last_usable = (last_lba - 1).checked_sub(entries_sectors).ok_or_else(|| {
        Error::Unsuitable(format!(
            "a table of {entries_sectors} sectors does not fit the disk"
        ))
    })?;
    let per_alignment = ALIGNMENT_BYTES / disk.sector;
    let end = ((last_usable + 1) / per_alignment * per_alignment).saturating_sub(1);

    let (index, start, old_end) = last_partition(table, entry_bytes as usize, name)?;
    if old_end > last_usable {
        return Err(Error::Unsuitable(format!(
            "partition {name:?} ends at sector {old_end}, beyond the disk's last usable one {last_usable}"
        )));
    }
    let new_end = end.max(old_end);
    let mut entries = table.entries.clone();
    let at = index * entry_bytes as usize;
    put(&mut entries, at + 40, &new_end.to_le_bytes());

    let primary_entries_lba = 2;
    let backup_entries_lba = last_lba - entries_sectors;
    let header = |own: u64, other: u64, entries_lba: u64| {
        let mut header = table.header.clone();
        put(&mut header, 24, &own.to_le_bytes());
        put(&mut header, 32, &other.to_le_bytes());
        put(&mut header, 48, &last_usable.to_le_bytes());
        put(&mut header, 72, &entries_lba.to_le_bytes());
        put(&mut header, 88, &crc32(&entries).to_le_bytes());
        seal(&mut header);
        header
    };
    let new_primary = header(1, last_lba, primary_entries_lba);
    let new_backup = header(last_lba, 1, backup_entries_lba);

    let mut groups = Vec::new();
    let same = |old: &Result<Table, &str>, header: &[u8]| {
        old.as_ref()
            .is_ok_and(|t| t.header == header && t.entries == entries)
    };
    if !same(&backup, &new_backup) {
        groups.push(vec![(backup_entries_lba * disk.sector, entries.clone())]);
        groups.push(vec![(last_lba * disk.sector, new_backup)]);
    }
    if !same(&primary, &new_primary) {
        groups.push(vec![(primary_entries_lba * disk.sector, entries)]);
        groups.push(vec![(disk.sector, new_primary)]);
    }
    groups.extend(protective(disk, last_lba)?.map(|mbr| vec![(0, mbr)]));
    let extent = Extent {
        number: index as u32 + 1,
        start: start * disk.sector,
        length: (new_end + 1 - start) * disk.sector,
    };
    Ok(Plan {
        extent,
        grows: new_end > old_end,
        groups,
    })
}

/// The protective MBR with the disk's new size, when it says another.
fn protective(disk: &Disk<'_>, last_lba: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut mbr = vec![0; 512];
    disk.file.read_exact_at(&mut mbr, 0)?;
    let size = u32::try_from(last_lba).unwrap_or(u32::MAX);
    let is_protective = mbr[510..] == [0x55, 0xaa] && mbr[450] == 0xee && u32_at(&mbr, 454) == 1;
    if !is_protective || u32_at(&mbr, 458) == size {
        return Ok(None);
    }
    put(&mut mbr, 458, &size.to_le_bytes());
    // A device with large sectors takes only whole ones.
    let mut sector = vec![0; disk.sector as usize];
    disk.file.read_exact_at(&mut sector, 0)?;
    put(&mut sector, 0, &mbr);
    Ok(Some(sector))
}

/// Index, first and last sector of the partition `name`, which no other one
/// may follow.
fn last_partition(table: &Table, entry: usize, name: &str) -> Result<(usize, u64, u64), Error> {
    let used = || {
        table
            .entries
            .chunks_exact(entry)
            .enumerate()
            .filter(|(_, e)| e[..16] != [0; 16])
    };
    let found = used().find(|(_, e)| entry_name(e) == name);
    let Some((index, found)) = found else {
        return Err(Error::Unsuitable(format!("no partition is named {name:?}")));
    };
    let (start, end) = (u64_at(found, 32), u64_at(found, 40));
    if end < start {
        return Err(Error::Unsuitable(format!(
            "partition {name:?} ends before it starts"
        )));
    }
    if let Some((other, _)) = used().find(|(i, e)| *i != index && u64_at(e, 40) >= start) {
        return Err(Error::Unsuitable(format!(
            "partition {name:?} cannot grow: partition {} comes after it",
            other + 1
        )));
    }
    Ok((index, start, end))
}

fn entry_name(entry: &[u8]) -> String {
    let units = entry[56..128]
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]));
    char::decode_utf16(units.take_while(|u| *u != 0))
        .map(|c| c.unwrap_or('\u{fffd}'))
        .collect()
}

/// Reads the table whose header is at `lba`, and checks both its sums.
fn read_table(disk: &Disk<'_>, lba: u64) -> Result<Table, &'static str> {
    let mut header = vec![0; disk.sector as usize];
    disk.file
        .read_exact_at(&mut header, lba * disk.sector)
        .map_err(|_| "unreadable header")?;
    if &header[..8] != SIGNATURE {
        return Err("no signature");
    }
    let size = u32_at(&header, 12) as usize;
    if !(92..=header.len()).contains(&size) {
        return Err("impossible header size");
    }
    let mut unsealed = header[..size].to_vec();
    put(&mut unsealed, 16, &[0; 4]);
    if crc32(&unsealed) != u32_at(&header, 16) {
        return Err("header checksum");
    }
    if u64_at(&header, 24) != lba {
        return Err("header of another sector");
    }
    let (count, entry) = (u32_at(&header, 80) as usize, u32_at(&header, 84) as usize);
    if entry < 128 || !entry.is_power_of_two() || count == 0 {
        return Err("impossible entry size or count");
    }
    let bytes = entry
        .checked_mul(count)
        .filter(|bytes| *bytes <= MAX_ENTRIES_BYTES);
    let bytes = bytes.ok_or("too many entries")?;
    let entries_lba = u64_at(&header, 72);
    // A primary's entries may begin elsewhere, but then growing would move them.
    if lba == 1 && entries_lba != 2 {
        return Err("entries not at sector 2");
    }
    let mut entries = vec![0; bytes];
    let at = entries_lba
        .checked_mul(disk.sector)
        .ok_or("impossible entries sector")?;
    disk.file
        .read_exact_at(&mut entries, at)
        .map_err(|_| "unreadable entries")?;
    if crc32(&entries) != u32_at(&header, 88) {
        return Err("entries checksum");
    }
    Ok(Table { header, entries })
}

/// Writes the header's own checksum.
fn seal(header: &mut [u8]) {
    let size = (u32_at(header, 12) as usize).min(header.len());
    put(header, 16, &[0; 4]);
    let sum = crc32(&header[..size]);
    put(header, 16, &sum.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(part) = bytes.get_mut(at..at + value.len()) {
        part.copy_from_slice(value);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// CRC-32 as IEEE 802.3 has it, bit by bit: 17 KiB are summed once a boot.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
