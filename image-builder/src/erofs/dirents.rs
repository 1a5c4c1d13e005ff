//! Directory data: blocks of entries followed by their names.

use super::BLOCK;

const ENTRY: usize = 12;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    pub(super) file_type: u8,
}

/// How many of `lens` (lengths of names) go into each block.
fn split(lens: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (at, len) in lens.iter().enumerate() {
        if used + ENTRY + len > BLOCK as usize {
            blocks.push(start..at);
            (start, used) = (at, 0);
        }
        used += ENTRY + len;
    }
    blocks.push(start..lens.len());
    blocks
}

/// Bytes that a directory with names of these lengths takes (with `.` and
/// `..` among them, in the order of the names).
pub(super) fn size(lens: &[usize]) -> u64 {
    let blocks = split(lens);
    let last = blocks.last().map_or(0, |range| {
        lens[range.clone()]
            .iter()
            .map(|len| ENTRY + len)
            .sum::<usize>() as u64
    });
    (blocks.len() as u64 - 1) * BLOCK + last
}

/// The data of a directory. `entries` must be sorted by name, bytewise: the
/// kernel finds a name by bisection, over blocks first and then inside one.
pub(super) fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let lens: Vec<usize> = entries.iter().map(|entry| entry.name.len()).collect();
    let mut out = Vec::new();
    for range in split(&lens) {
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let block = &entries[range];
        let mut name_at = block.len() * ENTRY;
        for entry in block {
            out.extend(entry.nid.to_le_bytes());
            out.extend((name_at as u16).to_le_bytes());
            out.extend([entry.file_type, 0]);
            name_at += entry.name.len();
        }
        for entry in block {
            out.extend_from_slice(entry.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_what_encode_writes() {
        for count in [2usize, 3, 100, 255, 256, 257, 700] {
            let names: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:05}").into_bytes()).collect();
            let entries: Vec<Entry<'_>> = names
                .iter()
                .map(|name| Entry {
                    name,
                    nid: 1,
                    file_type: 1,
                })
                .collect();
            let lens: Vec<usize> = names.iter().map(Vec::len).collect();
            assert_eq!(encode(&entries).len() as u64, size(&lens), "{count} names");
        }
    }
}
