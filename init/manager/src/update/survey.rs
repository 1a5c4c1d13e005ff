//! What of a bundle is there already: in the slot that is to be written, from an update that was
//! interrupted or is like the one before, and in the slot that runs.
//!
//! It only reads. The slot that runs is cut as bundles are, so a chunk is found wherever it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};

use orlop_bundle::chunk::{SIZE_MAX, SIZES, cut};
use orlop_bundle::{Digest, Index};
use orlop_control::types::UpdatePlan;

use super::error::UpdateError;
use super::places::in_order;
use super::section::Section;
use super::stop::Stop;

/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// At all of its places.
    There,
    /// At one of its places in the slot that is written.
    Beside(u64),
    /// In the root that runs, from this byte on.
    Root(u64),
    /// In the kernel image that runs, from this byte on.
    Kernel(u64),
    /// Nowhere.
    Missing,
}

/// What is there, by chunk.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) found: Vec<Found>,
    pub(super) plan: UpdatePlan,
}

/// The slot that runs.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) root: File,
    pub(super) kernel: File,
}

/// Looks for the chunks of `index`; `target` is the partition that they go to.
///
/// # Errors
/// A disk that cannot be read; cancelling.
pub(super) fn survey(
    index: &Index,
    target: &File,
    sources: &Sources,
    stop: &Stop,
) -> Result<Survey, UpdateError> {
    let mut found = in_target(index, target, stop)?;
    in_running(index, &sources.root, &mut found, stop, Found::Root)?;
    in_running(index, &sources.kernel, &mut found, stop, Found::Kernel)?;
    let mut plan = UpdatePlan {
        chunks: found.len() as u64,
        ..UpdatePlan::default()
    };
    for place in in_order(index) {
        plan.size += u64::from(place.size);
    }
    for (entry, found) in index.entries().iter().zip(&found) {
        if *found == Found::Missing {
            plan.missing_chunks += 1;
            plan.missing_size += u64::from(entry.compressed);
        }
    }
    Ok(Survey { found, plan })
}

/// Each chunk that is at one of its places, and whether it is at all of them.
fn in_target(index: &Index, target: &File, stop: &Stop) -> Result<Vec<Found>, UpdateError> {
    /// How many of a chunk's places were looked at, and how many hold it.
    #[derive(Clone, Copy, Default)]
    struct Count {
        places: u32,
        holding: u32,
        at: u64,
    }
    let mut counts = vec![Count::default(); index.entries().len()];
    let mut input = BufReader::with_capacity(READ, Section::whole(target));
    let mut bytes = vec![0; SIZE_MAX as usize];
    for place in in_order(index) {
        stop.check()?;
        let piece = &mut bytes[..place.size as usize];
        input
            .read_exact(piece)
            .map_err(UpdateError::disk("reading", "the other slot"))?;
        let count = &mut counts[place.chunk as usize];
        count.places += 1;
        if Digest::of(piece) == index.entries()[place.chunk as usize].digest {
            count.holding += 1;
            count.at = place.offset;
        }
    }
    let found = |count: &Count| match count.holding {
        0 => Found::Missing,
        holding if holding == count.places => Found::There,
        _ => Found::Beside(count.at),
    };
    Ok(counts.iter().map(found).collect())
}

/// Cuts what runs, and notes where the chunks are that are nowhere else.
fn in_running(
    index: &Index,
    file: &File,
    found: &mut [Found],
    stop: &Stop,
    at: fn(u64) -> Found,
) -> Result<(), UpdateError> {
    let entries = index.entries().iter().zip(0_u32..);
    let mut wanted: HashMap<Digest, u32> = entries
        .filter(|(_, number)| found[*number as usize] == Found::Missing)
        .map(|(entry, number)| (entry.digest, number))
        .collect();
    let mut offset = 0;
    let input = BufReader::with_capacity(READ, Section::whole(file));
    for piece in cut(input, SIZES) {
        stop.check()?;
        if wanted.is_empty() {
            break;
        }
        let piece = piece?;
        if let Some(number) = wanted.remove(&Digest::of(&piece)) {
            found[number as usize] = at(offset);
        }
        offset += piece.len() as u64;
    }
    Ok(())
}
