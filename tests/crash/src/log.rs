//! Reads the log of a recorded disk: dm-log-writes' format, version 1, as QEMU's `blklogwrites`
//! driver writes it (block/blklogwrites.c).
//!
//! ```text
//! sector 0      magic, version, number of entries (8 bytes each), bytes of a sector (4)
//! each entry    one sector: sector, sectors, flags, data length (8 bytes each)
//!               then the data, `sectors` sectors; none for a discard
//! ```
//!
//! All numbers are little-endian, and all sectors are the log's (`log-sector-size`, 512 when QEMU
//! is not told otherwise). What QEMU 7.2 does, by its source:
//!
//! - An entry is written when the request has been completed on the disk below, so the order is
//!   that of completion. A flush is an entry with nothing but its flag, and counts for all before it.
//! - The data length is never set; "write zeroes" has no flag, its zeros are in the log as data.
//! - The number of entries in sector 0 is brought up to date at each flush, and each
//!   `log-super-update-interval` entries; what is behind that number was never finished.
//! - It has no FUA of its own: QEMU turns such a write into one and a flush. The flag is read all
//!   the same, as dm-log-writes itself sets it.
//! - While a "write zeroes" is being logged, another request may take the same place in the log
//!   (mended in later releases). Such a log is refused here where that can be seen; record with
//!   `write-zeroes=off,discard=off` on the guest's disk.
//! - A write that was in the air while a flush was being done is logged before that flush, though
//!   the flush need not have covered it. With `cache.no-flush=on` on the node below (not on
//!   `blklogwrites` itself, which must see the flushes) a flush there takes no time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::trace::{Event, SECTOR, Trace};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
const METADATA: u64 = 16;
/// More entries than any update has; a source is a number below this.
const ENTRIES_MAX: u64 = 1 << 22;
/// Past this a sector's place in bytes might not fit.
const SECTOR_MAX: u64 = 1 << 50;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system's own.
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("not a log of writes: {0}")]
    Format(&'static str),
    /// It has too many entries.
    #[error("the log has {0} entries: expected at most {ENTRIES_MAX}")]
    TooMany(u64),
    /// An entry that no recorder writes, or that was not finished.
    #[error("entry {number} of the log, at byte {at}: {what}")]
    Entry {
        /// Which one, from 0.
        number: u64,
        /// Where it is in the log.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads the log at `path`.
///
/// # Errors
/// It cannot be read, is another kind of file, or is damaged.
pub fn read(path: &Path) -> Result<Trace, LogError> {
    read_file(File::open(path)?)
}

/// Reads the log in `file`.
///
/// # Errors
/// As [`read`].
pub fn read_file(file: File) -> Result<Trace, LogError> {
    let length = file.metadata()?.len();
    let mut first = [0; 28];
    fill(&file, &mut first, 0, LogError::Format("it is too short"))?;
    let number = |bytes: &[u8], at: usize| word(bytes, at) | word(bytes, at + 4) << 32;
    if number(&first, 0) != MAGIC {
        return Err(LogError::Format("the magic number is missing"));
    }
    if number(&first, 8) != 1 {
        return Err(LogError::Format("it is not version 1"));
    }
    let (count, unit) = (number(&first, 16), word(&first, 24));
    if !unit.is_power_of_two() || !(SECTOR..1 << 24).contains(&unit) {
        return Err(LogError::Format("its sectors have no size that can be"));
    }
    if count > ENTRIES_MAX {
        return Err(LogError::TooMany(count));
    }
    let mut events = Vec::new();
    let mut at = unit;
    for entry in 0..count {
        let own = at;
        let wrong = |what| LogError::Entry {
            number: entry,
            at: own,
            what,
        };
        let mut header = [0; 24];
        fill(&file, &mut header, at, wrong("it is cut off"))?;
        let fields = [0, 8, 16].map(|place| number(&header, place));
        at = read_entry(fields, at, unit, &mut events).map_err(wrong)?;
        if at > length {
            return Err(wrong("its data is cut off"));
        }
    }
    Ok(Trace::new(events, Arc::new(file)))
}

/// Adds what an entry says; gives the place of the next one.
fn read_entry(
    [sector, sectors, flags]: [u64; 3],
    at: u64,
    unit: u64,
    events: &mut Vec<Event>,
) -> Result<u64, &'static str> {
    if flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) != 0 {
        return Err("it has flags that are not known");
    }
    let data = at + unit;
    if flags & MARK != 0 {
        // The mark's text is in the entry's own sector.
        return Ok(data);
    }
    if flags & FLUSH != 0 {
        events.push(Event::Flush);
    }
    if sectors == 0 {
        let empty = flags & (FLUSH | DISCARD) == 0;
        return if empty { Err("it is empty") } else { Ok(data) };
    }
    let times = unit / SECTOR;
    let in_range = |value: u64| value.checked_mul(times).filter(|value| *value < SECTOR_MAX);
    let (Some(sector), Some(sectors)) = (in_range(sector), in_range(sectors)) else {
        return Err("its sectors are past the end of any disk");
    };
    if flags & DISCARD != 0 {
        events.push(Event::Discard { sector, sectors });
        return Ok(data);
    }
    events.push(Event::Write {
        sector,
        sectors,
        at: data,
        fua: flags & FUA != 0,
    });
    Ok(data + sectors * SECTOR)
}

fn fill(file: &File, bytes: &mut [u8], at: u64, cut: LogError) -> Result<(), LogError> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(cut),
        outcome => Ok(outcome?),
    }
}

/// Four bytes of a header that is long enough for them.
fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(4).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
