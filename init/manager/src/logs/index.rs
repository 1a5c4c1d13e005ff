//! The index beside a segment: fixed-size entries, appended.
//!
//! An entry says until which offset bytes had come at a time, that bytes were
//! dropped there, or that another container begins. It can be lost: the bytes
//! stay readable, with the time of the entry before.

use std::fs::File;
use std::io::{Read, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Size of an encoded entry.
pub(super) const ENTRY_BYTES: usize = 24;

const MAGIC: u16 = 0x4f4c;

/// What an entry says of its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Bytes came until there.
    Data,
    /// So many bytes were dropped there for lack of space.
    Dropped(u32),
    /// A container begins there: an unfinished line before it ends.
    Begin,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Microseconds since 1970.
    pub(super) time_us: i64,
    /// Offset in the segment.
    pub(super) end: u64,
    pub(super) mark: Mark,
}

impl Entry {
    pub(super) fn encode(self) -> [u8; ENTRY_BYTES] {
        let (kind, count): (u16, u32) = match self.mark {
            Mark::Data => (0, 0),
            Mark::Dropped(count) => (1, count),
            Mark::Begin => (2, 0),
        };
        let mut bytes = [0; ENTRY_BYTES];
        let parts: [&[u8]; 5] = [
            &self.time_us.to_le_bytes(),
            &self.end.to_le_bytes(),
            &count.to_le_bytes(),
            &kind.to_le_bytes(),
            &MAGIC.to_le_bytes(),
        ];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    /// The entry, unless the bytes are not one.
    pub(super) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (magic, _) = rest.split_first_chunk::<2>()?;
        let mark = match (u16::from_le_bytes(*magic), u16::from_le_bytes(*kind)) {
            (MAGIC, 0) => Mark::Data,
            (MAGIC, 1) => Mark::Dropped(u32::from_le_bytes(*count)),
            (MAGIC, 2) => Mark::Begin,
            (_, _) => return None,
        };
        Some(Entry {
            time_us: i64::from_le_bytes(*time),
            end: u64::from_le_bytes(*end),
            mark,
        })
    }
}

/// The valid entries from entry number `from` on, at most `max` of them; an
/// entry that is torn, or goes back, ends them.
pub(super) fn read(file: &File, from: u64, max: usize) -> Result<Vec<Entry>> {
    let mut bytes = vec![0; max * ENTRY_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = from * ENTRY_BYTES as u64 + filled as u64;
        match file.read_at(&mut bytes[filled..], at)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(decode_all(&bytes))
}

/// The number of the first entry that ends at `offset` or after it.
pub(super) fn find(file: &File, offset: u64) -> Result<u64> {
    let (mut from, mut to) = (0, file.metadata()?.len() / ENTRY_BYTES as u64);
    while from < to {
        let middle = from + (to - from) / 2;
        match read(file, middle, 1)?.first() {
            Some(entry) if entry.end < offset => from = middle + 1,
            Some(_) | None => to = middle,
        }
    }
    Ok(from)
}

fn decode_all(bytes: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for chunk in bytes.as_chunks::<ENTRY_BYTES>().0 {
        match Entry::decode(chunk) {
            Some(entry) if entries.last().is_none_or(|last| last.end <= entry.end) => {
                entries.push(entry);
            }
            Some(_) | None => break,
        }
    }
    entries
}

/// The valid entries of a whole index file; no file is no entries.
pub(super) fn load(path: &Path) -> Result<Vec<Entry>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut bytes)?;
            Ok(decode_all(&bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    proptest! {
        #[test]
        fn what_is_written_is_read(time_us: i64, end: u64, count: u32, kind in 0..3) {
            let mark = [Mark::Data, Mark::Dropped(count), Mark::Begin][kind as usize];
            let entry = Entry { time_us, end, mark };
            prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let entries = decode_all(&bytes);
            prop_assert!(entries.is_sorted_by_key(|entry| entry.end));
        }
    }

    #[test]
    fn an_entry_is_found_by_its_offset() {
        let mut file = tempfile::tempfile().unwrap();
        for end in [3, 5, 5, 9] {
            let mark = Mark::Data;
            let entry = Entry {
                time_us: 1,
                end,
                mark,
            };
            file.write_all(&entry.encode()).unwrap();
        }
        file.write_all(&[0; ENTRY_BYTES + 7]).unwrap();
        let found = [0, 3, 4, 5, 6, 9, 10].map(|offset| find(&file, offset).unwrap());
        assert_eq!(found, [0, 0, 1, 1, 3, 3, 4]);
    }

    #[test]
    fn a_torn_tail_and_zeros_end_the_index() {
        let entry = |end| Entry {
            time_us: 5,
            end,
            mark: Mark::Data,
        };
        let mut bytes = [entry(1).encode(), entry(9).encode()].concat();
        bytes.extend([0; 30]);
        assert_eq!(decode_all(&bytes), vec![entry(1), entry(9)]);
    }
}
