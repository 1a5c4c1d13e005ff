//! Places in a stream, found without reading all that lies before them: a log
//! may be very large, and what is wanted of it is mostly its end.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

use orlop_control::types::LogStream;

use super::assemble::LINE_MAX;
use super::cursor::Place;
use super::{index, segment};

const READ_BYTES: u64 = 64 * 1024;
const ENTRIES_AT_ONCE: usize = 4096;

/// A place from which at least `count` lines are left, or the oldest.
pub(super) fn last_lines(dir: &Path, stream: LogStream, count: u64) -> Result<Place> {
    let Some(number) = segment::list(dir, stream)?.last().copied() else {
        return Ok(Place::default());
    };
    let data = File::open(segment::data_path(dir, stream, number))?;
    let end = Place {
        segment: number,
        offset: data.metadata()?.len(),
    };
    // The newest end of a line may be the log's end.
    let ends = count.saturating_add(1);
    back(dir, stream, end, ends)
}

/// Where the first line begins that came at `since_us` or later. The clock may
/// have been set back, so each index is read from its beginning.
pub(super) fn since(dir: &Path, stream: LogStream, since_us: i64) -> Result<Place> {
    let mut known = Place::default();
    for number in segment::list(dir, stream)? {
        known = Place {
            segment: number,
            offset: 0,
        };
        let index = match File::open(segment::index_path(dir, stream, number)) {
            Ok(index) => index,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut next = 0;
        loop {
            let entries = index::read(&index, next, ENTRIES_AT_ONCE)?;
            for entry in &entries {
                if entry.time_us >= since_us {
                    return back(dir, stream, known, 1);
                }
                known.offset = entry.end;
            }
            next += entries.len() as u64;
            if entries.len() < ENTRIES_AT_ONCE {
                break;
            }
        }
    }
    // Nothing yet: what comes next may end a line that has begun.
    back(dir, stream, known, 1)
}

/// The place after the end of a line that is `ends` of them before `from`, or
/// the oldest. Goes back no further than as many of the longest lines take.
fn back(dir: &Path, stream: LogStream, from: Place, ends: u64) -> Result<Place> {
    let mut left = ends.saturating_mul(LINE_MAX as u64);
    let mut ends = ends;
    let mut place = from;
    let mut numbers = segment::list(dir, stream)?;
    numbers.retain(|number| *number <= from.segment);
    for number in numbers.into_iter().rev() {
        let data = match File::open(segment::data_path(dir, stream, number)) {
            Ok(data) => data,
            // Trimmed since it was listed, and so is all before it.
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let length = data.metadata()?.len();
        // An index may be ahead of its segment after a power cut.
        let mut offset = match number == from.segment {
            true => from.offset.min(length),
            false => length,
        };
        while offset > 0 && left > 0 {
            let size = offset.min(READ_BYTES).min(left);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            offset -= size;
            left -= size;
            data.read_exact_at(&mut bytes, offset)?;
            for (at, _) in bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
                ends -= 1;
                if ends == 0 {
                    let offset = offset + at as u64 + 1;
                    return Ok(Place {
                        segment: number,
                        offset,
                    });
                }
            }
        }
        place = Place {
            segment: number,
            offset,
        };
        if left == 0 {
            break;
        }
    }
    Ok(place)
}
