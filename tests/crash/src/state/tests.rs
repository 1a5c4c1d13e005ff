//! What a state is made of.

use super::*;
use crate::testing::drawn;
use proptest::prelude::*;

#[test]
fn names_lead_back() {
    for state in [
        State::Prefix { events: 0 },
        State::Torn {
            events: 7,
            seed: 255,
        },
        State::Subset {
            events: 1234,
            seed: u64::MAX,
        },
    ] {
        assert_eq!(state.to_string().parse(), Ok(state));
    }
    assert_eq!(
        State::Torn {
            events: 7,
            seed: 255
        }
        .to_string(),
        "torn 7 seed ff"
    );
    for bad in [
        "",
        "prefix",
        "prefix x",
        "torn 7",
        "subset 7 seed g",
        "half 3",
        "prefix 3 4",
    ] {
        let refusal = bad.parse::<State>().unwrap_err().to_string();
        assert!(refusal.contains("expected"), "{refusal}");
    }
}

#[test]
fn what_a_flush_covers_is_whole() {
    let trace = drawn("0-1 2-3 | f4-5 6-7 8-9 | 1-1");
    let recipe_of = |events| recipe(&trace, State::Subset { events, seed: 1 });
    assert_eq!(recipe_of(0).durable, 0);
    assert_eq!(recipe_of(2).durable, 0);
    assert_eq!(recipe_of(3), recipe(&trace, State::Prefix { events: 3 }));
    assert_eq!((recipe_of(6).durable, recipe_of(6).fua), (3, vec![3]));
    assert_eq!(recipe_of(8).durable, 7);
    // A state past the end is the end.
    assert_eq!(recipe(&trace, State::Prefix { events: 99 }).durable, 8);
    let torn = recipe(&trace, State::Torn { events: 2, seed: 5 });
    assert_eq!((torn.durable, torn.pieces.len()), (1, 1));
    assert_eq!(
        recipe(&trace, State::Torn { events: 0, seed: 5 }).durable,
        0
    );
}

#[test]
fn all_parts_of_a_write_come_up() {
    let mut random = Random::new(3, 0);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let kept = Kept::torn(&mut random, 4);
        seen.insert([0, 1, 2, 3].map(|index| kept.has(index, 4)));
    }
    assert_eq!(seen.len(), 16);
    assert_eq!(Kept::torn(&mut random, 1), Kept::All);
}

proptest! {
    #[test]
    fn nothing_after_power_went_is_there(
        words in prop::collection::vec((0_u64..30, 0_u64..6, 0_u8..8), 0..40),
        events in 0_usize..45,
        seed in any::<u64>(),
    ) {
        let word = |(first, more, kind): (u64, u64, u8)| match kind {
            0 => "|".to_owned(),
            1 => format!("f{first}-{}", first + more),
            2 => format!("d{first}-{}", first + more),
            _ => format!("{first}-{}", first + more),
        };
        let words: Vec<String> = words.into_iter().map(word).collect();
        let trace = drawn(&words.join(" "));
        let recipe = recipe(&trace, State::Subset { events, seed });
        let end = events.min(trace.events().len());
        prop_assert!(recipe.durable <= end);
        let between = recipe.durable..end;
        // No flush is skipped, and each event is taken at most once.
        prop_assert!(trace.flushes().iter().all(|flush| !between.contains(flush)));
        let pieces = recipe.pieces.iter().map(|(number, _)| *number);
        let mut taken: Vec<usize> = pieces.chain(recipe.fua.iter().copied()).collect();
        prop_assert!(taken.iter().all(|number| between.contains(number)));
        taken.sort_unstable();
        taken.dedup();
        prop_assert_eq!(taken.len(), recipe.pieces.len() + recipe.fua.len());
        for number in between {
            let durable = trace.events()[number].is_fua();
            prop_assert_eq!(durable, recipe.fua.contains(&number));
        }
    }
}
