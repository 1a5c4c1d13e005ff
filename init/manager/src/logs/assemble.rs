//! Lines of one stream, put together across chunks, segments and containers.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use orlop_control::types::LogStream;

use super::cursor::Place;
use super::index::{self, Entry, Mark};
use super::segment;

/// The longest line that is sent in one piece, in bytes.
pub(super) const LINE_MAX: usize = 16 * 1024;

const READ_BYTES: usize = 32 * 1024;
const ENTRIES_AT_ONCE: usize = 256;

/// A line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time_us: i64,
    pub(super) bytes: Vec<u8>,
    /// It goes on in the next one.
    pub(super) partial: bool,
    /// Where the stream goes on after it.
    pub(super) after: Place,
}

#[derive(Debug)]
struct Open {
    number: u64,
    data: File,
    index: Option<File>,
    index_next: u64,
}

/// Reads one stream from a place on.
#[derive(Debug)]
pub(super) struct StreamReader {
    dir: PathBuf,
    stream: LogStream,
    open: Option<Open>,
    /// Where the next byte is read.
    place: Place,
    /// Index entries at or after the place.
    entries: VecDeque<Entry>,
    last_time_us: i64,
    pending: Vec<u8>,
    ready: VecDeque<Line>,
}

impl StreamReader {
    /// Reads from `place` on; a place that is no longer there gives the oldest.
    pub(super) fn new(dir: &Path, stream: LogStream, place: Place) -> Self {
        StreamReader {
            dir: dir.to_owned(),
            stream,
            open: None,
            place,
            entries: VecDeque::new(),
            last_time_us: 0,
            pending: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next complete line, if there is one now.
    pub(super) fn peek(&mut self) -> Result<Option<&Line>> {
        while self.ready.is_empty() {
            if !self.read_some()? {
                break;
            }
        }
        Ok(self.ready.front())
    }

    /// Takes the line that `peek` showed.
    pub(super) fn pop(&mut self) -> Option<Line> {
        self.ready.pop_front()
    }

    /// The bytes of a line that has not ended yet, once `peek` gave none.
    pub(super) fn take_unfinished(&mut self) -> Option<Line> {
        if self.pending.is_empty() {
            return None;
        }
        self.emit(true);
        self.ready.pop_front()
    }

    /// Reads up to one chunk; false when there is no more now.
    fn read_some(&mut self) -> Result<bool> {
        if self.open.is_none() && !self.open_at_place()? {
            return Ok(false);
        }
        let Some(open) = &self.open else {
            return Ok(false);
        };
        let mut chunk = vec![0; READ_BYTES];
        let count = open.data.read_at(&mut chunk, self.place.offset)?;
        if count == 0 {
            return self.next_segment();
        }
        chunk.truncate(count);
        self.take_chunk(&chunk)?;
        Ok(true)
    }

    fn open_at_place(&mut self) -> Result<bool> {
        let numbers = segment::list(&self.dir, self.stream)?;
        let Some(number) = numbers
            .into_iter()
            .find(|number| *number >= self.place.segment)
        else {
            return Ok(false);
        };
        if number != self.place.segment {
            self.place = Place {
                segment: number,
                offset: 0,
            };
        }
        let data = match File::open(segment::data_path(&self.dir, self.stream, number)) {
            Ok(data) => data,
            // Trimmed since it was listed: the next call finds another.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let index = File::open(segment::index_path(&self.dir, self.stream, number)).ok();
        // The one before says since when there was nothing new.
        let index_next = match &index {
            Some(index) => index::find(index, self.place.offset)?.saturating_sub(1),
            None => 0,
        };
        self.entries.clear();
        self.open = Some(Open {
            number,
            data,
            index,
            index_next,
        });
        Ok(true)
    }

    /// Goes on to the segment after this one, if there is one.
    fn next_segment(&mut self) -> Result<bool> {
        let Some(number) = self.open.as_ref().map(|open| open.number) else {
            return Ok(false);
        };
        // The index may hold an end of container or a drop at this very end.
        self.end_at_marks(self.place.offset)?;
        if !self.ready.is_empty() {
            return Ok(true);
        }
        let next = segment::list(&self.dir, self.stream)?
            .into_iter()
            .find(|other| *other > number);
        let Some(next) = next else {
            return Ok(false);
        };
        // The writer moves on only after its last byte, but that byte may have
        // come after this reader looked.
        if let Some(open) = &self.open
            && open.data.metadata()?.len() > self.place.offset
        {
            return Ok(true);
        }
        self.place = Place {
            segment: next,
            offset: 0,
        };
        self.open = None;
        Ok(true)
    }

    fn take_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        for byte in chunk {
            if self.pending.is_empty() || self.at_mark(self.place.offset)? {
                self.end_at_marks(self.place.offset)?;
            }
            self.place.offset += 1;
            if *byte == b'\n' {
                self.emit(false);
            } else {
                self.pending.push(*byte);
                if self.pending.len() >= LINE_MAX {
                    self.emit(true);
                }
            }
        }
        Ok(())
    }

    fn fill_entries(&mut self) -> Result<()> {
        if !self.entries.is_empty() {
            return Ok(());
        }
        if let Some(open) = &mut self.open
            && let Some(index) = &open.index
        {
            let entries = index::read(index, open.index_next, ENTRIES_AT_ONCE)?;
            open.index_next += entries.len() as u64;
            self.entries.extend(entries);
        }
        Ok(())
    }

    /// Whether a container begins, or bytes were dropped, at `offset`; on the
    /// way forgets entries that lie before it.
    fn at_mark(&mut self, offset: u64) -> Result<bool> {
        loop {
            self.fill_entries()?;
            let Some(entry) = self.entries.front().copied() else {
                return Ok(false);
            };
            let past = match entry.mark {
                Mark::Data => entry.end <= offset,
                Mark::Dropped(_) | Mark::Begin => entry.end < offset,
            };
            if past {
                self.last_time_us = entry.time_us;
                self.entries.pop_front();
            } else {
                return Ok(entry.mark != Mark::Data && entry.end == offset);
            }
        }
    }

    fn end_at_marks(&mut self, offset: u64) -> Result<()> {
        while self.at_mark(offset)? {
            let Some(entry) = self.entries.pop_front() else {
                return Ok(());
            };
            self.last_time_us = entry.time_us;
            if !self.pending.is_empty() {
                self.emit(false);
            }
            if let Mark::Dropped(count) = entry.mark {
                let text = format!("[orlop: {count} bytes dropped here: no space for the log]");
                self.pending.extend(text.into_bytes());
                self.emit(false);
            }
        }
        Ok(())
    }

    fn emit(&mut self, partial: bool) {
        let time_us = match self.entries.front() {
            Some(entry) if entry.mark == Mark::Data => entry.time_us,
            Some(_) | None => self.last_time_us,
        };
        let bytes = std::mem::take(&mut self.pending);
        self.ready.push_back(Line {
            time_us,
            bytes,
            partial,
            after: self.place,
        });
    }
}
