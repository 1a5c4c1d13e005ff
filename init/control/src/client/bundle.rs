//! A bundle on this machine, of which only what the host lacks is read and sent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use orlop_bundle::{Entry, Head};

use super::ClientError;
use super::update::IN_FLIGHT;

/// Bytes of a record before the chunk itself: its number and its length.
const RECORD_HEAD_SIZE: usize = 8;
/// The most bytes of a request's body, which a host keeps whole or not at all. It takes larger ones
/// ([`CHUNKS_SIZE_MAX`](crate::types::CHUNKS_SIZE_MAX)), but what is under way is sent again after an
/// interruption.
const BODY_SIZE_MAX: usize = 384 << 10;
/// What a host may lose with its power but for the requests under way: it flushes no less often.
const UNFLUSHED_SIZE: usize = 256 << 10;
// What is sent twice at most.
const _: () = assert!(IN_FLIGHT * BODY_SIZE_MAX + UNFLUSHED_SIZE <= 1 << 20);

/// A bundle whose head is understood and signed, and whose file is as long as that says.
#[derive(Debug)]
pub(super) struct Bundle {
    path: String,
    file: File,
    head: Bytes,
    version: String,
    chunks: Vec<Place>,
}

/// Where a chunk is in the file, and its bytes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    size: u32,
}

impl Bundle {
    /// Opens the bundle at `path`. The chunks are not read: the host checks each.
    pub(super) fn open(path: &Path) -> Result<Self, ClientError> {
        let path_text = path.display().to_string();
        let failed = |source| ClientError::File {
            path: path_text.clone(),
            source,
        };
        let refused = |reason: String| ClientError::Bundle {
            path: path_text.clone(),
            reason,
        };
        let mut file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(failed(source));
        }
        let head = Head::read(&mut file).map_err(|error| refused(error.to_string()))?;
        head.check_signatures()
            .map_err(|error| refused(error.to_string()))?;
        let head_size = file.stream_position().map_err(failed)?;
        let (chunks, expected) = places(head_size, head.index().entries());
        if let Some(reason) = wrong_size(meta.len(), expected) {
            return Err(refused(reason));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let again = (&mut file).take(head_size);
        { again }.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Self {
            path: path_text,
            file,
            head: bytes.into(),
            version: head.manifest().version.clone(),
            chunks,
        })
    }

    /// The head, as it stands in the file.
    pub(super) fn head(&self) -> Bytes {
        self.head.clone()
    }

    /// The version that it holds.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Which chunks each request is to carry, for a host that lacks `missing`.
    pub(super) fn requests(&self, missing: &[u32]) -> Result<Vec<Vec<u32>>, ClientError> {
        let size = |number: u32| self.chunks.get(number as usize).map(|place| place.size);
        pack(missing, size).map_err(|number| {
            let count = self.chunks.len();
            ClientError::Protocol(format!(
                "it lacks chunk {number} of {} {}, which has {count} chunks",
                self.path, self.version
            ))
        })
    }

    /// The body of a request with these chunks, each as it stands in the file.
    pub(super) fn records(&self, numbers: &[u32]) -> Result<Bytes, ClientError> {
        let failed = |source| ClientError::File {
            path: self.path.clone(),
            source,
        };
        let mut body = Vec::with_capacity(BODY_SIZE_MAX);
        for number in numbers {
            let place = self.chunks.get(*number as usize);
            let none = || {
                failed(io::Error::other(format!(
                    "there is no chunk {number} in it"
                )))
            };
            let place = place.ok_or_else(none)?;
            body.extend_from_slice(&number.to_le_bytes());
            body.extend_from_slice(&place.size.to_le_bytes());
            let start = body.len();
            body.resize(start + place.size as usize, 0);
            self.file
                .read_exact_at(&mut body[start..], place.offset)
                .map_err(failed)?;
        }
        Ok(body.into())
    }
}

/// Where each chunk is, the first at `offset`, and where the last ends.
fn places(mut offset: u64, entries: &[Entry]) -> (Vec<Place>, u64) {
    let mut chunks = Vec::with_capacity(entries.len());
    for entry in entries {
        let size = entry.compressed;
        chunks.push(Place { offset, size });
        offset += u64::from(size);
    }
    (chunks, offset)
}

/// What is wrong with a file that is `found` bytes long.
fn wrong_size(found: u64, expected: u64) -> Option<String> {
    let what = match found.cmp(&expected) {
        std::cmp::Ordering::Less => "cut off",
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => "there is more after the last chunk",
    };
    Some(format!(
        "{what}: {found} bytes, expected {expected}; fetch it again"
    ))
}

/// Divides chunks among requests of at most [`BODY_SIZE_MAX`] bytes, in order.
///
/// Fails with the first number of which there is no chunk.
fn pack(missing: &[u32], size: impl Fn(u32) -> Option<u32>) -> Result<Vec<Vec<u32>>, u32> {
    let mut requests: Vec<Vec<u32>> = Vec::new();
    let mut room = 0;
    for number in missing {
        let record = RECORD_HEAD_SIZE + size(*number).ok_or(*number)? as usize;
        match requests.last_mut() {
            Some(last) if record <= room => last.push(*number),
            Some(_) | None => {
                room = BODY_SIZE_MAX;
                requests.push(vec![*number]);
            }
        }
        room = room.saturating_sub(record);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_bundle::Digest;

    const LARGEST: u32 = orlop_bundle::chunk::COMPRESSED_MAX;
    const FULL: u32 = (BODY_SIZE_MAX - RECORD_HEAD_SIZE) as u32;

    #[test]
    fn requests_are_filled_in_order_and_not_overfilled() {
        let none: [&[u32]; 0] = [];
        let check = |sizes: &[u32], missing: &[u32], expected: &[&[u32]]| {
            let size = |number: u32| sizes.get(number as usize).copied();
            assert_eq!(pack(missing, size).unwrap(), expected, "{sizes:?}");
        };
        check(&[1, 1], &[], &none);
        check(&[1, 1, 1], &[0, 2], &[&[0, 2]]);
        check(&[FULL, 1], &[0, 1], &[&[0], &[1]]);
        check(&[FULL - 9, 1, 1], &[0, 1, 2], &[&[0, 1], &[2]]);
        check(&[FULL - 8, 1, 1], &[0, 1, 2], &[&[0], &[1, 2]]);
        check(&[LARGEST; 3], &[0, 1, 2], &[&[0], &[1], &[2]]);
        check(&[1, FULL, 1], &[0, 1, 2], &[&[0], &[1], &[2]]);
    }

    #[test]
    fn a_chunk_that_is_not_there_is_named() {
        let size = |number: u32| (number < 3).then_some(1);
        assert_eq!(pack(&[0, 2, 7, 9], size), Err(7));
    }

    #[test]
    fn chunks_follow_the_head_one_after_the_other() {
        let entry = |compressed| Entry {
            digest: Digest::of(b""),
            size: 1,
            compressed,
        };
        let (chunks, end) = places(100, &[entry(5), entry(7)]);
        let at = |offset, size| Place { offset, size };
        assert_eq!((chunks, end), (vec![at(100, 5), at(105, 7)], 112));
        assert_eq!(places(100, &[]), (Vec::new(), 100));
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        for (found, words) in [
            (112, None),
            (111, Some("cut off: 111 bytes, expected 112")),
            (0, Some("cut off: 0 bytes")),
            (113, Some("more after the last chunk: 113 bytes")),
        ] {
            let reason = wrong_size(found, 112).unwrap_or_default();
            assert!(reason.contains(words.unwrap_or_default()), "{reason}");
            assert_eq!(reason.is_empty(), words.is_none(), "{reason}");
        }
    }
}
