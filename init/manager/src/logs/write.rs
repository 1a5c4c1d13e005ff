//! The writing side of one stream: splices a FIFO into segments.

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use orlop_control::types::LogStream;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::index::{self, ENTRY_BYTES, Entry, Mark};
use super::segment;
use crate::durable::no_room;

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
    /// Bytes dropped of which entries say so, since the last byte that was kept.
    told: u64,
    /// That segments cannot be changed was told already.
    stuck: bool,
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
            told: 0,
            stuck: false,
        })
    }

    /// Has the log keep to other limits, from its next bytes on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Says that another container's output begins here.
    pub fn begin(&mut self, now_us: i64) {
        self.note(now_us, Mark::Begin);
    }

    /// Moves what is in `fifo`, at most one chunk of it. Nothing else may
    /// read the FIFO.
    pub fn take(&mut self, fifo: impl AsFd, now_us: i64) -> Result<Taken> {
        // It may make room.
        self.rotate();
        if !self.has_room() {
            return self.discard(fifo, now_us);
        }
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
                // The drop was before these bytes: so is its mark.
                self.settle(now_us);
                self.told = 0;
                self.end += count as u64;
                self.note(now_us, Mark::Data);
                Ok(Taken::Bytes(count as u64))
            }
            Err(Errno::AGAIN) => Ok(Taken::Nothing),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::ROFS) => {
                self.discard(fifo, now_us)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a container could write, too. What the file system reserves for
    /// root is for unit files and containers' directories: were logs let at it,
    /// a full host could neither be mended nor start its units again.
    fn has_room(&self) -> bool {
        let full = |stat: rustix::fs::StatVfs| stat.f_blocks > 0 && stat.f_bavail == 0;
        !rustix::fs::fstatvfs(&self.data).is_ok_and(full)
    }

    /// The container must not wait for room on the disk: what cannot be kept
    /// is counted and let go, at most one chunk of it.
    pub fn discard(&mut self, fifo: impl AsFd, now_us: i64) -> Result<Taken> {
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        match splice(fifo, None, null, None, CHUNK_MAX, SpliceFlags::NONBLOCK) {
            Ok(count) => {
                self.dropped += count as u64;
                // At once, and then each time that it has doubled: the index
                // stays small however long this goes on, and a kill cannot
                // hide more than is told.
                if self.dropped >= self.told {
                    self.settle(now_us);
                }
                Ok(Taken::Dropped(count as u64))
            }
            Err(Errno::AGAIN) => Ok(Taken::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts on record what was dropped since the last byte that was kept. What
    /// there is no room to tell is told later.
    pub fn settle(&mut self, now_us: i64) {
        if self.dropped > 0 {
            let count = u32::try_from(self.dropped).unwrap_or(u32::MAX);
            if self.note(now_us, Mark::Dropped(count)) {
                self.dropped -= u64::from(count);
                self.told += u64::from(count);
            }
        }
    }

    /// Appends an index entry; false when it could not. Losing one loses no
    /// line, so a full disk is not an error here.
    fn note(&mut self, time_us: i64, mark: Mark) -> bool {
        let entry = Entry {
            time_us,
            end: self.end,
            mark,
        };
        let noted = self
            .index
            .write_all_at(&entry.encode(), self.index_end)
            .is_ok();
        if noted {
            self.index_end += ENTRY_BYTES as u64;
        }
        noted
    }

    /// Goes on in another segment once this one is full. What stands in the way
    /// must not keep output from its log: then this one goes on.
    fn rotate(&mut self) {
        if self.end + self.index_end < self.limits.segment() {
            return;
        }
        let next = self.number + 1;
        let rotated = match Self::open_segment(&self.dir, self.stream, self.limits, next) {
            Ok(next) => {
                let (dropped, told, stuck) = (self.dropped, self.told, self.stuck);
                *self = StreamWriter {
                    dropped,
                    told,
                    stuck,
                    ..next
                };
                Ok(())
            }
            Err(error) => {
                // A half that was made would pass for the newest segment, and
                // this one for an old one that may go.
                let _ = std::fs::remove_file(segment::data_path(&self.dir, self.stream, next));
                // Without room for another segment this one goes on, and bytes
                // that do not fit are counted.
                if no_room(&error) { Ok(()) } else { Err(error) }
            }
        };
        let trimmed = trim(&self.dir, self.limits.total.max(64 * 1024));
        match rotated.and(trimmed) {
            Ok(()) => self.stuck = false,
            Err(error) if !self.stuck => {
                let dir = self.dir.display();
                tracing::error!("the log in {dir} cannot go on to another segment: {error}");
                self.stuck = true;
            }
            Err(_) => {}
        }
    }

    /// Has every write of bytes fail from now on.
    #[cfg(test)]
    pub(super) fn break_data(&mut self) -> Result<()> {
        self.data = File::open(segment::data_path(&self.dir, self.stream, self.number))?;
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LIMITS: Limits = Limits { total: 64 * 1024 };

    fn open(dir: &Path) -> StreamWriter {
        StreamWriter::open(dir, LogStream::Stdout, LIMITS, 1).unwrap()
    }

    fn put(writer: &mut StreamWriter, bytes: &[u8]) {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(bytes).unwrap();
        let taken = writer.take(&read, 2).unwrap();
        assert_eq!(taken, Taken::Bytes(bytes.len() as u64));
    }

    fn marks(dir: &Path) -> Vec<(u64, Mark)> {
        let entries = index::load(&segment::index_path(dir, LogStream::Stdout, 1)).unwrap();
        entries
            .iter()
            .map(|entry| (entry.end, entry.mark))
            .collect()
    }

    #[test]
    fn a_drop_is_marked_before_the_bytes_that_follow_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        put(&mut writer, b"one\n");
        writer.dropped = 5;
        put(&mut writer, b"two\n");
        let expected = [(4, Mark::Data), (4, Mark::Dropped(5)), (8, Mark::Data)];
        assert_eq!(marks(dir.path()), expected);
        assert_eq!(writer.dropped, 0);
    }

    #[test]
    fn a_drop_that_cannot_be_marked_is_marked_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        writer.dropped = 5;
        let path = segment::index_path(dir.path(), LogStream::Stdout, 1);
        let good = std::mem::replace(&mut writer.index, File::open(path).unwrap());
        writer.settle(3);
        assert_eq!((writer.dropped, marks(dir.path())), (5, vec![]));
        writer.index = good;
        writer.settle(4);
        assert_eq!(writer.dropped, 0);
        assert_eq!(marks(dir.path()), [(0, Mark::Dropped(5))]);
    }

    #[test]
    fn a_kill_hides_no_more_of_what_was_dropped_than_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        let drop_ten = |writer: &mut StreamWriter| {
            let (read, mut write) = std::io::pipe().unwrap();
            write.write_all(&[b'x'; 10]).unwrap();
            assert_eq!(writer.discard(&read, 3).unwrap(), Taken::Dropped(10));
        };
        let told = || {
            let marks = marks(dir.path());
            let drops = marks.iter().map(|(_, mark)| match mark {
                Mark::Dropped(count) => u64::from(*count),
                Mark::Data | Mark::Begin => 0,
            });
            (drops.sum::<u64>(), marks.len())
        };
        for dropped in 1..=100 {
            drop_ten(&mut writer);
            assert!(told().0 * 2 >= dropped * 10, "{:?} at {dropped}", told());
        }
        assert_eq!(told(), (640, 7));
        // And once bytes are kept again all is told, and the next drop at once.
        put(&mut writer, b"kept\n");
        assert_eq!(told().0, 1000);
        drop_ten(&mut writer);
        assert_eq!(told().0, 1010);
    }

    #[test]
    fn a_segment_that_cannot_be_followed_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        let blocked = segment::index_path(dir.path(), LogStream::Stdout, 2);
        std::fs::create_dir(&blocked).unwrap();
        for _ in 0..6 {
            put(&mut writer, &[b'x'; 4096]);
        }
        assert_eq!(
            (writer.number, writer.end, writer.stuck),
            (1, 6 * 4096, true)
        );
        assert_eq!(segment::list(dir.path(), LogStream::Stdout).unwrap(), [1]);
        std::fs::remove_dir(&blocked).unwrap();
        put(&mut writer, b"next\n");
        assert_eq!((writer.number, writer.end, writer.stuck), (2, 5, false));
    }
}
