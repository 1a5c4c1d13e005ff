//! The writing side of one stream: splices a FIFO into segments.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use orlop_control::types::LogStream;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::index::{self, ENTRY_BYTES, Entry, Mark};
use super::segment;

/// How much one call moves at most, in bytes: a default pipe's capacity, so
/// that a busy stream cannot keep the others waiting.
const CHUNK_MAX: usize = 64 * 1024;

/// How large a log may grow, both streams and indexes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes; at least 64 KiB is taken.
    pub total: u64,
}

impl Limits {
    fn segment(self) -> u64 {
        (self.total.max(64 * 1024) / 8).max(8 * 1024)
    }
}

/// What a call to [`StreamWriter::take`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes are in the log now.
    Bytes(u64),
    /// So many bytes were dropped, as the file system has no room.
    Dropped(u64),
    /// The FIFO is empty.
    Nothing,
}

/// Appends one stream of one unit. There is only ever one for it.
#[derive(Debug)]
pub struct StreamWriter {
    dir: PathBuf,
    stream: LogStream,
    limits: Limits,
    number: u64,
    data: File,
    index: File,
    end: u64,
    index_end: u64,
    /// Bytes dropped since the last index entry that says so.
    dropped: u64,
}

impl StreamWriter {
    /// Opens the stream's newest segment, or its first. Bytes that the index
    /// does not know get an entry with `now_us`.
    pub fn open(dir: &Path, stream: LogStream, limits: Limits, now_us: i64) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let number = segment::list(dir, stream)?.last().copied().unwrap_or(1);
        let mut writer = Self::open_segment(dir, stream, limits, number)?;
        let known = index::load(&segment::index_path(dir, stream, number))?;
        let known_end = known.last().map_or(0, |entry| entry.end);
        writer.index_end = (known.len() * ENTRY_BYTES) as u64;
        // A torn entry goes; so does an index that is ahead of its segment,
        // as a power cut can leave it.
        if known_end > writer.end {
            let valid = known.iter().take_while(|entry| entry.end <= writer.end);
            writer.index_end = (valid.count() * ENTRY_BYTES) as u64;
        }
        writer.index.set_len(writer.index_end)?;
        if known_end < writer.end {
            writer.note(now_us, Mark::Data);
        }
        Ok(writer)
    }

    fn open_segment(dir: &Path, stream: LogStream, limits: Limits, number: u64) -> Result<Self> {
        // Not O_APPEND: splice(2) refuses such files.
        let open = |path: PathBuf| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        };
        let data = open(segment::data_path(dir, stream, number))?;
        let index = open(segment::index_path(dir, stream, number))?;
        let end = data.metadata()?.len();
        let index_end = index.metadata()?.len();
        Ok(StreamWriter {
            dir: dir.to_owned(),
            stream,
            limits,
            number,
            data,
            index,
            end,
            index_end,
            dropped: 0,
        })
    }

    /// Says that another container's output begins here.
    pub fn begin(&mut self, now_us: i64) {
        self.note(now_us, Mark::Begin);
    }

    /// Moves what is in `fifo`, at most one chunk of it. Nothing else may
    /// read the FIFO.
    pub fn take(&mut self, fifo: impl AsFd, now_us: i64) -> Result<Taken> {
        self.rotate()?;
        let mut at = self.end;
        let moved = splice(
            &fifo,
            None,
            &self.data,
            Some(&mut at),
            CHUNK_MAX,
            SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
        );
        match moved {
            Ok(0) => Ok(Taken::Nothing),
            Ok(count) => {
                self.end += count as u64;
                self.settle_dropped(now_us);
                self.note(now_us, Mark::Data);
                Ok(Taken::Bytes(count as u64))
            }
            Err(Errno::AGAIN) => Ok(Taken::Nothing),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::ROFS) => {
                self.drop_chunk(fifo)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The container must not wait for room on the disk: what cannot be kept
    /// is counted and let go.
    fn drop_chunk(&mut self, fifo: impl AsFd) -> Result<Taken> {
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        match splice(fifo, None, null, None, CHUNK_MAX, SpliceFlags::NONBLOCK) {
            Ok(count) => {
                self.dropped += count as u64;
                Ok(Taken::Dropped(count as u64))
            }
            Err(Errno::AGAIN) => Ok(Taken::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn settle_dropped(&mut self, now_us: i64) {
        if self.dropped > 0 {
            let count = u32::try_from(self.dropped).unwrap_or(u32::MAX);
            self.dropped = 0;
            self.note(now_us, Mark::Dropped(count));
        }
    }

    /// Appends an index entry. Losing one loses no line, so a full disk is
    /// not an error here.
    fn note(&mut self, time_us: i64, mark: Mark) {
        let entry = Entry {
            time_us,
            end: self.end,
            mark,
        };
        if self
            .index
            .write_all_at(&entry.encode(), self.index_end)
            .is_ok()
        {
            self.index_end += ENTRY_BYTES as u64;
        }
    }

    fn rotate(&mut self) -> Result<()> {
        if self.end + self.index_end < self.limits.segment() {
            return Ok(());
        }
        match Self::open_segment(&self.dir, self.stream, self.limits, self.number + 1) {
            Ok(next) => {
                let dropped = self.dropped;
                *self = next;
                self.dropped = dropped;
            }
            // Without room for another segment this one goes on, and bytes
            // that do not fit are counted.
            Err(error) if no_room(&error) => {}
            Err(error) => return Err(error),
        }
        trim(&self.dir, self.limits.total.max(64 * 1024))
    }
}

fn no_room(error: &Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// Removes the oldest segments until the log fits; each stream keeps its
/// newest.
fn trim(dir: &Path, total: u64) -> Result<()> {
    let mut segments = Vec::new();
    let mut size = 0;
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        let numbers = segment::list(dir, stream)?;
        for (place, number) in numbers.iter().enumerate() {
            let data = segment::data_path(dir, stream, *number);
            let index = segment::index_path(dir, stream, *number);
            let metadata = std::fs::metadata(&data)?;
            let bytes = metadata.len() + std::fs::metadata(&index).map_or(0, |index| index.len());
            size += bytes;
            if place + 1 < numbers.len() {
                segments.push((metadata.modified()?, bytes, data, index));
            }
        }
    }
    segments.sort();
    for (_, bytes, data, index) in segments {
        if size <= total {
            break;
        }
        std::fs::remove_file(data)?;
        let _ = std::fs::remove_file(index);
        size -= bytes;
    }
    Ok(())
}
