//! Which states come up.

use super::*;
use crate::testing::drawn;

const NONE: Range<u64> = 0..0;

fn subsets(trace: &Trace, interesting: &Range<u64>, count: usize) -> Vec<usize> {
    let all = states(trace, interesting, 5, count);
    let random = all.filter(|state| matches!(state, State::Subset { .. }));
    random.map(|state| state.events()).collect()
}

#[test]
fn prefixes_come_first_and_in_order() {
    let trace = drawn("0-1 2-2 | 4-5");
    let all: Vec<State> = states(&trace, &(4..5), 1, 0).collect();
    let drawn: Vec<String> = all
        .iter()
        .map(|state| match state {
            State::Prefix { events } => format!("prefix {events}"),
            State::Torn { events, .. } => format!("torn {events}"),
            State::Subset { .. } => "subset".to_owned(),
        })
        .collect();
    let expected = [
        "prefix 0", "torn 1", "prefix 1", "prefix 2", "torn 4", "torn 4", "prefix 4",
    ];
    assert_eq!(drawn, expected);
    assert_ne!(all[4], all[5]);
    assert_eq!(states(&drawn_empty(), &NONE, 1, 100).count(), 1);
}

fn drawn_empty() -> Trace {
    drawn("")
}

#[test]
fn the_same_seed_gives_the_same_states() {
    let trace = drawn("0-7 8-15 16-20 | 4-5 0-9 | 1-3");
    let list = |seed| states(&trace, &NONE, seed, 200).collect::<Vec<_>>();
    assert_eq!(list(1), list(1));
    assert_ne!(list(1), list(2));
}

#[test]
fn no_epoch_is_left_out_and_interesting_ones_get_more() {
    let trace = drawn("0-99 100-199 | 200-299 300-399 | 400-499 500-599");
    let epoch = |events: usize| match events {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let count = |interesting: Range<u64>| {
        let mut counts = [0; 3];
        for events in subsets(&trace, &interesting, 1000) {
            counts[epoch(events)] += 1;
        }
        counts
    };
    assert_eq!(count(NONE), [333, 333, 334]);
    assert_eq!(count(300..301), [100, 800, 100]);
}

#[test]
fn random_states_differ() {
    // Three sectors, so eight states, and what the first epoch does not have the second has.
    let trace = drawn("0-0 1-1 2-2 | 10-99 100-199");
    let random = |count| {
        let all = states(&trace, &NONE, 9, count);
        let random = all.filter(|state| matches!(state, State::Subset { .. }));
        random.collect::<Vec<_>>()
    };
    let found = random(400);
    let (small, large): (Vec<State>, Vec<State>) =
        found.iter().partition(|state| state.events() <= 3);
    assert_eq!(small.len(), 8);
    let outcomes: HashSet<u64> = small.iter().map(|state| outcome(&trace, *state)).collect();
    assert_eq!(outcomes.len(), small.len());
    assert!(large.len() > 200, "{}", large.len());
    assert!(found.is_sorted_by_key(|state| state.events() > 3));
}
