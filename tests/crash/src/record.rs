//! Whether the state partition has what it must have before the new version can boot.
//!
//! Which version boots is judged without the state partition ([`crate::check`]), so no state of the
//! disk shows whether the record of a trial is there in time. A name that a power cut tears may be
//! without its counter; then nothing but the record says that what boots is on trial. So the record's
//! words have to be in a write to the state partition, and that write be followed by a flush, before
//! the first write with which the new version boots. Where on the partition they are does not
//! matter: the file system may write them to a journal first. Nor is it known here whether a name
//! leads to them by then: that is for the file system's own tools to say.

use std::io;
use std::os::unix::fs::FileExt;

use orlop_slot::Partition;

use crate::check::{BaseError, Checker, Known, Verdict, Which};
use crate::disk::Disk;
use crate::state::State;
use crate::trace::{Event, SECTOR, Trace};
use crate::view::View;

/// Where in a trace the record is written and the new version becomes bootable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The write that has the record's words.
    pub write: usize,
    /// The flush that makes it last.
    pub flush: usize,
    /// The first write with which the new version boots.
    pub bootable: usize,
}

/// Why a trace is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum Unrecorded {
    /// The log cannot be read.
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
    /// The disk is not whole before the trace.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The trace is none of an update.
    #[error("the new version never boots")]
    NeverBoots,
    /// No write has the words.
    #[error("no write to the state partition has the words of the record: {0}")]
    Nowhere(String),
    /// The write comes too late.
    #[error(
        "the new version boots from event {bootable} on, and its record is written by event {write}"
    )]
    TooLate {
        /// The write of the record.
        write: usize,
        /// The first write with which the new version boots.
        bootable: usize,
    },
    /// It may not last.
    #[error(
        "the new version boots from event {bootable} on, and its record, which is written by event \
         {write}, is not flushed before that"
    )]
    Unflushed {
        /// The write of the record.
        write: usize,
        /// The first write with which the new version boots.
        bootable: usize,
    },
}

/// Where a record with these `words`, in this order, is written, flushed, and followed by what makes
/// the new version bootable.
///
/// # Errors
/// It is not so, and why; the log cannot be read.
pub fn recorded(
    trace: &Trace,
    disk: &Disk,
    known: &Known,
    words: &[&str],
) -> Result<Recorded, Unrecorded> {
    let bootable = first_boot(trace, disk, known)?;
    let state = disk.partition(Partition::State);
    let write = first_with(trace, &trace.touching(&state), words)?;
    let write = write.ok_or_else(|| Unrecorded::Nowhere(words.join(" … ")))?;
    if write > bootable {
        return Err(Unrecorded::TooLate { write, bootable });
    }
    let durable = trace.events().get(write).is_some_and(Event::is_fua);
    let mut flushes = trace.flushes().iter().copied();
    let flush = match durable {
        true => Some(write),
        false => flushes.find(|flush| (write..bootable).contains(flush)),
    };
    match flush {
        Some(flush) => Ok(Recorded {
            write,
            flush,
            bootable,
        }),
        None => Err(Unrecorded::Unflushed { write, bootable }),
    }
}

/// The first write with which the new version boots. Only what touches the boot partition can be it,
/// in a trace whose slot is not written behind its back.
fn first_boot(trace: &Trace, disk: &Disk, known: &Known) -> Result<usize, Unrecorded> {
    let mut view = View::new(disk, trace);
    let mut checker = Checker::new(&view, known.clone())?;
    for event in trace.touching(&disk.partition(Partition::Esp)) {
        view.enter(State::Prefix { events: event + 1 });
        match checker.check(&view) {
            Verdict::Boots {
                version: Which::New,
                ..
            } => return Ok(event),
            Verdict::Boots {
                version: Which::Old,
                ..
            }
            | Verdict::Broken { .. } => {}
        }
    }
    Err(Unrecorded::NeverBoots)
}

/// The first of `events` whose data has all of the words, each behind the one before.
fn first_with(trace: &Trace, events: &[usize], words: &[&str]) -> io::Result<Option<usize>> {
    for number in events {
        let Some(Event::Write { sectors, at, .. }) = trace.events().get(*number) else {
            continue;
        };
        let length = usize::try_from(sectors * SECTOR).map_err(io::Error::other)?;
        let mut data = vec![0; length];
        trace.log().read_exact_at(&mut data, *at)?;
        if has_all(&data, words) {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

fn has_all(data: &[u8], words: &[&str]) -> bool {
    let mut rest = data;
    words.iter().all(|word| {
        let word = word.as_bytes();
        let found = rest.windows(word.len()).position(|part| part == word);
        if let Some(at) = found {
            rest = &rest[at + word.len()..];
        }
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_order() {
        let data = b"{\"root\": \"ab\",\n \"outcome\": \"trying\"}";
        for (words, found) in [
            (&["\"ab\"", "trying"][..], true),
            (&["trying", "\"ab\""], false),
            (&["\"ab\"", "blessed"], false),
            (&["\"ab\"", "\"ab\""], false),
            (&[], true),
        ] {
            assert_eq!(has_all(data, words), found, "{words:?}");
        }
        assert!(!has_all(b"", &["a"]));
    }
}
