//! What a guest did to its disk, in the order in which it was completed, and that order broken on
//! purpose.
//!
//! The data stays in the log file. A trace is short enough to be copied, so each change for a
//! negative test is a new one, on the same log.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// One thing done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data written. QEMU logs "write zeroes" as data, too.
    Write {
        /// The first sector.
        sector: u64,
        /// How many.
        sectors: u64,
        /// Where in the log file the data is, in bytes.
        at: u64,
        /// Whether it was durable once it was completed.
        fua: bool,
    },
    /// Sectors given up. They are taken to read as zeros from then on.
    Discard {
        /// The first sector.
        sector: u64,
        /// How many.
        sectors: u64,
    },
    /// All that was completed before is durable.
    Flush,
}

impl Event {
    /// The sectors that it changes; none for a flush.
    pub fn sectors(&self) -> Range<u64> {
        match *self {
            Event::Write {
                sector, sectors, ..
            }
            | Event::Discard { sector, sectors } => sector..sector.saturating_add(sectors),
            Event::Flush => 0..0,
        }
    }

    /// Whether it changes any of `range`.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        let own = self.sectors();
        own.start.max(range.start) < own.end.min(range.end)
    }

    /// Whether it is durable without a flush.
    pub(crate) fn is_fua(&self) -> bool {
        matches!(self, Event::Write { fua: true, .. })
    }
}

/// All that was done to a disk while it was recorded.
#[derive(Clone, Debug)]
pub struct Trace {
    events: Vec<Event>,
    flushes: Vec<usize>,
    log: Arc<File>,
}

impl Trace {
    /// `events` with their data in `log`.
    pub fn new(events: Vec<Event>, log: Arc<File>) -> Trace {
        let numbered = events.iter().enumerate();
        let flushes = numbered.filter(|(_, event)| **event == Event::Flush);
        Trace {
            flushes: flushes.map(|(number, _)| number).collect(),
            events,
            log,
        }
    }

    /// In the order in which they were completed.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Where the data is.
    pub(crate) fn log(&self) -> &File {
        &self.log
    }

    /// Which events are flushes.
    pub fn flushes(&self) -> &[usize] {
        &self.flushes
    }

    /// Which events change any of `sectors`: for finding the steps of an update.
    pub fn touching(&self, sectors: &Range<u64>) -> Vec<usize> {
        let numbered = self.events.iter().enumerate();
        let found = numbered.filter(|(_, event)| event.touches(sectors));
        found.map(|(number, _)| number).collect()
    }

    /// Runs of events without a flush between them, flushes left out.
    pub fn epochs(&self) -> Vec<Range<usize>> {
        let mut epochs = Vec::new();
        let mut start = 0;
        let ends = self.flushes.iter().copied();
        for end in ends.chain([self.events.len()]) {
            if start < end {
                epochs.push(start..end);
            }
            start = end + 1;
        }
        epochs
    }

    /// This trace as if event `number` were no flush; the same trace if it is none.
    pub fn without_flush(&self, number: usize) -> Trace {
        self.without_any_flush_between(number, number.saturating_add(1))
    }

    /// This trace with none of the flushes from event `from` on and before event `to`.
    pub fn without_any_flush_between(&self, from: usize, to: usize) -> Trace {
        let numbered = self.events.iter().enumerate();
        let kept = numbered
            .filter(|(number, event)| !(from..to).contains(number) || **event != Event::Flush);
        self.with(kept.map(|(_, event)| *event).collect())
    }

    /// This trace with two runs of events in each other's place; `None` unless the first ends
    /// before the second begins, and that one before the trace does.
    pub fn swapped(&self, first: Range<usize>, second: Range<usize>) -> Option<Trace> {
        let ordered = first.start <= first.end
            && first.end <= second.start
            && second.start <= second.end
            && second.end <= self.events.len();
        if !ordered {
            return None;
        }
        let parts = [
            0..first.start,
            second.clone(),
            first.end..second.start,
            first,
            second.end..self.events.len(),
        ];
        let events = parts
            .into_iter()
            .filter_map(|part| self.events.get(part))
            .flatten();
        Some(self.with(events.copied().collect()))
    }

    /// The first `events` events alone.
    pub fn cut(&self, events: usize) -> Trace {
        self.with(self.events.iter().take(events).copied().collect())
    }

    fn with(&self, events: Vec<Event>) -> Trace {
        Trace::new(events, Arc::clone(&self.log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes to sectors 0, 1, 2 and so on, with flushes where there is a `|`.
    fn sketch(text: &str) -> Trace {
        let mut sector = 0;
        let mut next = |letter| match letter {
            '|' => Event::Flush,
            _ => {
                sector += 1;
                Event::Write {
                    sector: sector - 1,
                    sectors: 1,
                    at: 0,
                    fua: false,
                }
            }
        };
        let events = text.chars().map(&mut next).collect();
        Trace::new(events, Arc::new(tempfile::tempfile().unwrap()))
    }

    fn drawn(trace: &Trace) -> String {
        let letter = |event: &Event| match event {
            Event::Flush => '|',
            other => char::from(b'a' + u8::try_from(other.sectors().start).unwrap()),
        };
        trace.events().iter().map(letter).collect()
    }

    #[test]
    fn epochs_lie_between_flushes() {
        for (text, expected) in [
            ("", ""),
            ("||", ""),
            ("ww", "0..2"),
            ("|w||ww|", "1..2 4..6"),
            ("w|w", "0..1 2..3"),
        ] {
            let epochs = sketch(text).epochs();
            let drawn: Vec<String> = epochs.iter().map(|epoch| format!("{epoch:?}")).collect();
            assert_eq!(drawn.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn broken_orders() {
        let trace = sketch("ww|w|w|");
        assert_eq!(drawn(&trace), "ab|c|d|");
        assert_eq!(trace.flushes(), [2, 4, 6]);
        assert_eq!(trace.touching(&(1..3)), [1, 3]);
        assert_eq!(drawn(&trace.without_flush(4)), "ab|cd|");
        assert_eq!(drawn(&trace.without_flush(3)), "ab|c|d|");
        assert_eq!(drawn(&trace.without_any_flush_between(0, 5)), "abcd|");
        assert_eq!(drawn(&trace.swapped(0..3, 5..7).unwrap()), "d|c|ab|");
        assert_eq!(drawn(&trace.swapped(0..1, 1..2).unwrap()), "ba|c|d|");
        assert_eq!(drawn(&trace.cut(3)), "ab|");
        for (first, second) in [(0..3, 2..4), (3..4, 0..1), (0..1, 5..8)] {
            assert!(trace.swapped(first, second).is_none());
        }
    }
}
