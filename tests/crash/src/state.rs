//! What power can leave of a trace, each state named so that it can be made again.
//!
//! A disk owes what was completed before the last flush, and each write that was durable by itself
//! (FUA). Of the rest, completed or in the air, it has kept any part, in any order; only a sector
//! is whole or not there.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::random::{Random, mix};
use crate::trace::{Event, Trace};

/// A moment at which power goes, and what the disk has made of its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The first `events` events, all of them.
    Prefix {
        /// How many.
        events: usize,
    },
    /// The first `events` events, of the last one only some sectors.
    Torn {
        /// How many.
        events: usize,
        /// Decides which sectors.
        seed: u64,
    },
    /// Of the first `events` events what must be there, and some of the rest.
    Subset {
        /// How many.
        events: usize,
        /// Decides which, how much of each, and in which order.
        seed: u64,
    },
}

impl State {
    /// How many events had been completed, or, for [`State::Torn`], begun.
    pub fn events(&self) -> usize {
        match *self {
            State::Prefix { events }
            | State::Torn { events, .. }
            | State::Subset { events, .. } => events,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Prefix { events } => write!(f, "prefix {events}"),
            State::Torn { events, seed } => write!(f, "torn {events} seed {seed:x}"),
            State::Subset { events, seed } => write!(f, "subset {events} seed {seed:x}"),
        }
    }
}

/// A text that names no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: expected \"prefix 12\", \"torn 12 seed 3f\" or \"subset 12 seed 3f\"")]
pub struct NoState(String);

impl FromStr for State {
    type Err = NoState;

    fn from_str(text: &str) -> Result<State, NoState> {
        let none = || NoState(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = |word: &str| word.parse::<usize>().map_err(|_| none());
        let seed = |word: &str| u64::from_str_radix(word, 16).map_err(|_| none());
        match words.as_slice() {
            ["prefix", events] => Ok(State::Prefix {
                events: count(events)?,
            }),
            ["torn", events, "seed", number] => Ok(State::Torn {
                events: count(events)?,
                seed: seed(number)?,
            }),
            ["subset", events, "seed", number] => Ok(State::Subset {
                events: count(events)?,
                seed: seed(number)?,
            }),
            _ => Err(none()),
        }
    }
}

/// How much of a write is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    All,
    First(u64),
    Last(u64),
    /// Each sector by its own chance.
    Some(u64),
}

impl Kept {
    /// Whether the write's sector number `index` of `count` is.
    pub(crate) fn has(self, index: u64, count: u64) -> bool {
        match self {
            Kept::All => true,
            Kept::First(kept) => index < kept,
            Kept::Last(kept) => index >= count.saturating_sub(kept),
            Kept::Some(seed) => mix(seed ^ index) & 1 == 0,
        }
    }

    /// A part of a write of `sectors`, neither none nor all of it where chance does not say so.
    fn torn(random: &mut Random, sectors: u64) -> Kept {
        if sectors < 2 {
            return Kept::All;
        }
        let some = 1 + random.below(sectors - 1);
        match random.below(4) {
            0 | 1 => Kept::First(some),
            2 => Kept::Last(some),
            _ => Kept::Some(random.next()),
        }
    }
}

/// A state as what is to be done: the first `durable` events whole, then these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) durable: usize,
    pub(crate) pieces: Vec<(usize, Kept)>,
    /// Writes that nothing older may cover.
    pub(crate) fua: Vec<usize>,
}

/// How to make `state`; a state past the trace's end is at its end.
pub(crate) fn recipe(trace: &Trace, state: State) -> Recipe {
    let events = state.events().min(trace.events().len());
    let whole = |durable| Recipe {
        durable,
        pieces: Vec::new(),
        fua: Vec::new(),
    };
    match state {
        State::Prefix { .. } => whole(events),
        State::Torn { seed, .. } => {
            let Some(last) = events.checked_sub(1) else {
                return whole(0);
            };
            let mut random = Random::new(seed, last as u64);
            let sectors = length(trace, last);
            let mut recipe = whole(last);
            recipe.pieces = vec![(last, Kept::torn(&mut random, sectors))];
            recipe
        }
        State::Subset { seed, .. } => subset(trace, events, seed),
    }
}

/// The events since the last flush among the first `events`.
pub(crate) fn unflushed(trace: &Trace, events: usize) -> Range<usize> {
    let before = trace.flushes().partition_point(|flush| *flush < events);
    let flush = before
        .checked_sub(1)
        .and_then(|last| trace.flushes().get(last));
    flush.map_or(0, |number| number + 1)..events
}

fn subset(trace: &Trace, events: usize, seed: u64) -> Recipe {
    let open = unflushed(trace, events);
    let event = |number: &usize| trace.events().get(*number);
    let (fua, rest): (Vec<usize>, Vec<usize>) = open
        .clone()
        .partition(|number| event(number).is_some_and(Event::is_fua));
    let mut random = Random::new(seed, events as u64);
    let chance = random.one_of([1, 4, 8, 12, 15]);
    let tears = random.one_of([0, 2, 8]);
    // One write alone, or one alone missing, is what most orders depend on.
    let single = random.sixteenths(6);
    let odd = random.below(rest.len() as u64) as usize;
    let has_odd = random.sixteenths(8);
    let mut pieces = Vec::new();
    for (place, number) in rest.into_iter().enumerate() {
        let kept = match single {
            true => (place == odd) == has_odd,
            false => random.sixteenths(chance),
        };
        if kept {
            let part = match random.sixteenths(tears) {
                true => Kept::torn(&mut random, length(trace, number)),
                false => Kept::All,
            };
            pieces.push((number, part));
        }
    }
    if random.sixteenths(8) {
        random.shuffle(&mut pieces);
    }
    Recipe {
        durable: open.start,
        pieces,
        fua,
    }
}

fn length(trace: &Trace, number: usize) -> u64 {
    let range = trace.events().get(number).map(Event::sectors);
    range.map_or(0, |range| range.end - range.start)
}

#[cfg(test)]
mod tests;
