//! The disk in one of its states, held as what each of its sectors comes from.
//!
//! A sector's source is the base image or the event that wrote it last. Two states with the same
//! sources are the same disk; so each area has a print, the sum of what its sectors come from, and
//! what was found out about an area holds wherever its print is the same. To go from one state to
//! the next changes only the sectors that differ, when the states are in the order of their events.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::disk::{Area, Disk};
use crate::random::mix;
use crate::state::{Kept, State, recipe};
use crate::table::Length;
use crate::trace::{Event, SECTOR, Trace};

/// What a sector comes from: 0 for the base, else an event's number and 1.
pub(crate) type Source = u32;

/// A disk in one of its states.
#[derive(Debug)]
pub struct View<'a> {
    disk: &'a Disk,
    trace: &'a Trace,
    sources: Vec<Source>,
    /// How many events are on the disk, whatever was put over them.
    durable: usize,
    /// What was put over them: each sector, its area, and its source before.
    over: Vec<(u64, Area, Source)>,
    prints: [u64; Area::COUNT],
    /// A file that could not be read says nothing about the disk.
    failed: RefCell<Option<io::Error>>,
}

impl<'a> View<'a> {
    /// The disk before the trace, which must fit it ([`Disk::fits`]).
    pub fn new(disk: &'a Disk, trace: &'a Trace) -> View<'a> {
        View {
            disk,
            trace,
            sources: vec![0; disk.sectors() as usize],
            durable: 0,
            over: Vec::new(),
            prints: [0; Area::COUNT],
            failed: RefCell::new(None),
        }
    }

    /// Makes it the disk in `state`. Cheap when that is near, and not before, the last one.
    pub fn enter(&mut self, state: State) {
        while let Some((sector, area, source)) = self.over.pop() {
            if let Some(place) = self.sources.get_mut(sector as usize) {
                self.prints[area.index()] ^= weight(sector, *place) ^ weight(sector, source);
                *place = source;
            }
        }
        let recipe = recipe(self.trace, state);
        if recipe.durable < self.durable {
            self.sources.fill(0);
            self.prints = [0; Area::COUNT];
            self.durable = 0;
        }
        for number in self.durable..recipe.durable {
            self.put(number, Kept::All, |_| true, false);
        }
        self.durable = recipe.durable;
        for (number, kept) in recipe.pieces {
            self.put(number, kept, |_| true, true);
        }
        for number in recipe.fua {
            let own = source_of(number);
            self.put(number, Kept::All, |there| there < own, true);
        }
    }

    /// The disk that it is a state of.
    pub fn disk(&self) -> &'a Disk {
        self.disk
    }

    /// The trace whose state it is.
    pub fn trace(&self) -> &'a Trace {
        self.trace
    }

    /// A number for what is in an area.
    pub(crate) fn print(&self, area: Area) -> u64 {
        self.prints[area.index()]
    }

    /// All areas' numbers.
    pub(crate) fn prints(&self) -> [u64; Area::COUNT] {
        self.prints
    }

    pub(crate) fn source(&self, sector: u64) -> Source {
        self.sources
            .get(sector as usize)
            .copied()
            .unwrap_or_default()
    }

    /// The first sector from `sector` on that is not the base's.
    pub(crate) fn next_changed(&self, sector: u64) -> Option<u64> {
        let rest = self.sources.get(sector as usize..)?;
        let place = rest.iter().position(|source| *source != 0)?;
        Some(sector + place as u64)
    }

    /// What went wrong with a file since this was last asked.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Puts an event's sectors on the disk where `over` says so of what is there.
    fn put(&mut self, number: usize, kept: Kept, over: impl Fn(Source) -> bool, undo: bool) {
        let Some(event) = self.trace.events().get(number) else {
            return;
        };
        let Range { start, end } = event.sectors();
        let own = source_of(number);
        let mut at = start;
        while at < end {
            let (area, area_end) = self.disk.area(at);
            let stop = end.min(area_end);
            let places = self.sources.get_mut(at as usize..stop as usize);
            let mut change = 0;
            for (sector, place) in (at..).zip(places.unwrap_or_default()) {
                if kept.has(sector - start, end - start) && over(*place) {
                    if undo {
                        self.over.push((sector, area, *place));
                    }
                    change ^= weight(sector, *place) ^ weight(sector, own);
                    *place = own;
                }
            }
            self.prints[area.index()] ^= change;
            at = stop;
        }
    }

    /// Fills `bytes` from byte `offset` on.
    ///
    /// # Errors
    /// The disk ends before, or a file cannot be read.
    pub fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.disk.sectors() * SECTOR) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let sector = at / SECTOR;
            let source = self.source(sector);
            let within = at % SECTOR;
            let mut count = (SECTOR - within).min(rest.len() as u64);
            let mut next = sector + 1;
            while count < rest.len() as u64 && self.source(next) == source {
                count = (count + SECTOR).min(rest.len() as u64);
                next += 1;
            }
            let (now, later) = rest.split_at_mut(count as usize);
            let outcome = self.read_run(now, at, source);
            if let Err(error) = outcome {
                let again = io::Error::new(error.kind(), error.to_string());
                self.failed.replace(Some(error));
                return Err(again);
            }
            rest = later;
            at += count;
        }
        Ok(())
    }

    /// Reads what has one source.
    fn read_run(&self, bytes: &mut [u8], at: u64, source: Source) -> io::Result<()> {
        let Some(number) = source.checked_sub(1) else {
            return self.disk.file().read_exact_at(bytes, at);
        };
        match self.trace.events().get(number as usize) {
            Some(Event::Write {
                sector, at: data, ..
            }) => {
                let within = at - sector * SECTOR;
                self.trace.log().read_exact_at(bytes, data + within)
            }
            _ => {
                bytes.fill(0);
                Ok(())
            }
        }
    }
}

/// An event as a source. A log has fewer than 2^22 entries.
fn source_of(number: usize) -> Source {
    Source::try_from(number + 1).unwrap_or(Source::MAX)
}

/// What a sector adds to its area's print; nothing as long as it is the base's.
fn weight(sector: u64, source: Source) -> u64 {
    match source {
        0 => 0,
        _ => mix(sector << 24 ^ u64::from(source)),
    }
}

impl orlop_verity::ReadAt for View<'_> {
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(bytes, offset)
    }
}

impl Length for View<'_> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.sectors() * SECTOR)
    }
}

#[cfg(test)]
mod tests;
