//! Which states are looked at: each prefix, each last write torn, then random ones.

use std::collections::HashSet;
use std::ops::Range;

use crate::random::{Random, mix};
use crate::state::{Kept, State, recipe};
use crate::trace::{Event, Trace};

/// Above this many sectors two random states of an epoch are hardly ever the same.
const FEW: u64 = 512;
/// After as many repeats in a row an epoch has no more states to give.
const REPEATS_MAX: usize = 400;
/// An epoch of this many events is small.
const SMALL: usize = 64;

/// All prefixes in order, each followed by its next write torn (twice where that touches
/// `interesting`), then up to `random` states that differ, from the first epoch to the last. Epochs
/// that touch `interesting` sectors get eight times as many as the others, small ones twice; what an
/// epoch does not have others get.
///
/// There are fewer than `random` only where a trace does not have so many.
pub fn states<'t>(
    trace: &'t Trace,
    interesting: &Range<u64>,
    seed: u64,
    random: usize,
) -> impl Iterator<Item = State> + use<'t> {
    orderly(trace, interesting.clone(), seed).chain(Spread::new(trace, interesting, seed, random))
}

fn orderly(
    trace: &Trace,
    interesting: Range<u64>,
    seed: u64,
) -> impl Iterator<Item = State> + use<'_> {
    let events = trace.events();
    let at = move |done: usize| {
        let last = done.checked_sub(1).and_then(|last| events.get(last));
        // A flush changes nothing.
        let whole = (last != Some(&Event::Flush)).then_some(State::Prefix { events: done });
        let next = events.get(done);
        let tears = match next {
            Some(next) if next.touches(&interesting) => 2,
            _ => 1,
        };
        let sectors = next.map_or(0..0, Event::sectors);
        let tears = if sectors.end - sectors.start < 2 {
            0
        } else {
            tears
        };
        let torn = (0..tears).map(move |number| State::Torn {
            events: done + 1,
            seed: mix(seed ^ mix((done as u64) << 1 | number)),
        });
        whole.into_iter().chain(torn)
    };
    (0..=events.len()).flat_map(at)
}

/// The random ones.
struct Spread<'t> {
    trace: &'t Trace,
    /// Each epoch that is left, the last first, and how many states of it are wanted.
    epochs: Vec<(Range<usize>, usize)>,
    random: Random,
    /// What earlier epochs did not have.
    owed: usize,
    /// Epochs that have as many states as anyone wants, for what is owed in the end.
    large: Vec<Range<usize>>,
    now: Option<Epoch>,
}

/// The epoch that is being gone through.
struct Epoch {
    events: Range<usize>,
    wanted: usize,
    /// How many in a row were there already.
    repeats: usize,
    few: bool,
    seen: HashSet<u64>,
}

impl<'t> Spread<'t> {
    fn new(trace: &'t Trace, interesting: &Range<u64>, seed: u64, count: usize) -> Spread<'t> {
        let weight = |epoch: &Range<usize>| {
            let events = trace.events().get(epoch.clone()).unwrap_or_default();
            let touches = events.iter().any(|event| event.touches(interesting));
            let (touching, small) = (if touches { 8 } else { 1 }, epoch.len() <= SMALL);
            touching * if small { 2 } else { 1 }
        };
        let epochs = trace.epochs();
        let total = epochs.iter().map(weight).sum::<usize>().max(1);
        let mut before = 0;
        let mut share = |epoch: Range<usize>| {
            let after = before + weight(&epoch);
            let wanted = count * after / total - count * before / total;
            before = after;
            (epoch, wanted)
        };
        let large = epochs.iter().filter(|epoch| !is_small(trace, epoch));
        let large = large.cloned().collect();
        let mut epochs: Vec<_> = epochs.into_iter().map(&mut share).collect();
        epochs.reverse();
        Spread {
            trace,
            epochs,
            random: Random::new(seed, u64::MAX),
            owed: 0,
            large,
            now: None,
        }
    }

    fn begin_next(&mut self) -> Option<Epoch> {
        if self.epochs.is_empty() && self.owed > 0 {
            let large = std::mem::take(&mut self.large);
            let (owed, count) = (std::mem::take(&mut self.owed), large.len().max(1));
            let share = |(place, epoch)| (epoch, (owed + place) / count);
            self.epochs = large.into_iter().rev().enumerate().map(share).collect();
        }
        let (events, wanted) = self.epochs.pop()?;
        let wanted = wanted + std::mem::take(&mut self.owed);
        Some(Epoch {
            few: is_small(self.trace, &events),
            events,
            wanted,
            repeats: 0,
            seen: HashSet::new(),
        })
    }
}

/// Whether an epoch writes so little that the same state may come up twice.
fn is_small(trace: &Trace, epoch: &Range<usize>) -> bool {
    let events = trace.events().get(epoch.clone()).unwrap_or_default();
    let sectors = events.iter().map(Event::sectors);
    sectors.map(|range| range.end - range.start).sum::<u64>() < FEW
}

impl Iterator for Spread<'_> {
    type Item = State;

    fn next(&mut self) -> Option<State> {
        loop {
            if self.now.is_none() {
                self.now = Some(self.begin_next()?);
            }
            let Some(epoch) = self.now.as_mut() else {
                continue;
            };
            if epoch.wanted == 0 || epoch.repeats == REPEATS_MAX {
                self.owed = epoch.wanted;
                self.now = None;
                continue;
            }
            // At the epoch's end everything in it may be there or not; that is half of them.
            let events = match self.random.sixteenths(8) {
                true => epoch.events.end,
                false => epoch.events.end - self.random.below(epoch.events.len() as u64) as usize,
            };
            let state = State::Subset {
                events,
                seed: self.random.next(),
            };
            if !epoch.few || epoch.seen.insert(outcome(self.trace, state)) {
                epoch.wanted -= 1;
                epoch.repeats = 0;
                return Some(state);
            }
            epoch.repeats += 1;
        }
    }
}

/// A number for what is on the disk in this state.
fn outcome(trace: &Trace, state: State) -> u64 {
    let recipe = recipe(trace, state);
    let mut content = std::collections::BTreeMap::new();
    let fua = recipe.fua.iter().map(|number| (*number, Kept::All, true));
    let pieces = recipe.pieces.iter();
    let pieces = pieces.map(|(number, kept)| (*number, *kept, false));
    for (number, kept, last) in pieces.chain(fua) {
        let sectors = trace.events().get(number).map_or(0..0, Event::sectors);
        let count = sectors.end - sectors.start;
        for (index, sector) in sectors.enumerate() {
            let newer = content.get(&sector).is_some_and(|there| *there > number);
            if kept.has(index as u64, count) && !(last && newer) {
                content.insert(sector, number);
            }
        }
    }
    let fold = |sum: u64, (sector, number): (u64, usize)| {
        mix(mix(sum.wrapping_add(sector + 1)) ^ number as u64)
    };
    content.into_iter().fold(0, fold)
}

#[cfg(test)]
mod tests;
