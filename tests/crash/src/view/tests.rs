//! A disk in its states, byte for byte.

use super::*;
use crate::states::states;
use crate::testing::{disk, drawn};
use proptest::prelude::*;

/// What each of the first sectors is filled with: 255 for the base.
fn sectors(view: &View<'_>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count * 512];
    view.read(&mut bytes, 0).unwrap();
    let chunks = bytes.chunks(512);
    let filled = chunks.map(|chunk| {
        assert!(
            chunk.iter().all(|byte| *byte == chunk[0]),
            "a sector in parts"
        );
        chunk[0]
    });
    filled.collect()
}

#[test]
fn prefixes_and_back() {
    let (disk, _file) = disk(12, 255);
    let trace = drawn("0-3 2-5 | d3-3 1-1");
    let mut view = View::new(&disk, &trace);
    let at = |view: &mut View<'_>, events| {
        view.enter(State::Prefix { events });
        sectors(view, 7)
    };
    assert_eq!(at(&mut view, 0), [255; 7]);
    let start = view.prints();
    assert_eq!(at(&mut view, 2), [0, 0, 1, 1, 1, 1, 255]);
    assert_eq!(at(&mut view, 5), [0, 4, 1, 0, 1, 1, 255]);
    assert_ne!(view.prints(), start);
    assert_eq!(at(&mut view, 1), [0, 0, 0, 0, 255, 255, 255]);
    assert_eq!(at(&mut view, 0), [255; 7]);
    assert_eq!(view.prints(), start);
    let mut past = [0; 2];
    assert!(view.read(&mut past, 12 * 512 - 1).is_err());
    assert!(view.read(&mut past, u64::MAX).is_err());
    assert!(view.take_failure().is_none());
}

#[test]
fn a_read_need_not_be_of_whole_sectors() {
    let (disk, _file) = disk(12, 255);
    let trace = drawn("2-3 3-3");
    let mut view = View::new(&disk, &trace);
    view.enter(State::Prefix { events: 2 });
    let mut bytes = [9; 1100];
    view.read(&mut bytes, 3 * 512 - 300).unwrap();
    let expected = [vec![0; 300], vec![1; 512], vec![255; 288]].concat();
    assert_eq!(bytes[..], expected);
}

#[test]
fn a_log_that_is_cut_off_later_is_a_failure() {
    let (disk, _file) = disk(12, 255);
    let trace = drawn("2-3");
    trace.log().set_len(100).unwrap();
    let mut view = View::new(&disk, &trace);
    view.enter(State::Prefix { events: 1 });
    assert!(view.read(&mut [0; 512], 1024).is_err());
    assert!(view.take_failure().is_some());
}

#[test]
fn a_state_can_be_written_out() {
    let (disk, file) = disk(5000, 255);
    let trace = drawn("0-3 d10-12 | 4000-4999 4990-4991");
    let mut view = View::new(&disk, &trace);
    for state in states(&trace, &(0..0), 3, 20) {
        view.enter(state);
        let copy = tempfile::NamedTempFile::new().unwrap();
        view.write_to(copy.path()).unwrap();
        let mut expected = vec![0; 5000 * 512];
        view.read(&mut expected, 0).unwrap();
        assert!(std::fs::read(copy.path()).unwrap() == expected, "{state}");
    }
    assert!(
        std::fs::read(file.path())
            .unwrap()
            .iter()
            .all(|b| *b == 255)
    );
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        1 => Just("|".to_owned()),
        4 => (0_u64..20, 0_u64..8).prop_map(|(at, more)| format!("{at}-{}", at + more)),
        1 => (0_u64..20, 0_u64..8).prop_map(|(at, more)| format!("f{at}-{}", at + more)),
    ];
    prop::collection::vec(word, 0..25).prop_map(|words| words.join(" "))
}

proptest! {
    /// Each sector is as the last flush, or a durable write after it, left it, or newer; and
    /// nothing is newer than the moment.
    #[test]
    fn what_is_owed_is_there(text in words(), seed in any::<u64>()) {
        let (disk, _file) = disk(32, 255);
        let trace = drawn(&text);
        let mut view = View::new(&disk, &trace);
        for state in states(&trace, &(5..8), seed, 40) {
            view.enter(state);
            let events = state.events();
            let whole = events - usize::from(matches!(state, State::Torn { .. }));
            let done = &trace.events()[..whole];
            let flush = done.iter().rposition(|event| *event == Event::Flush).unwrap_or(0);
            let owed = |sector: u64| {
                let covers = |(number, event): &(usize, &Event)| {
                    event.sectors().contains(&sector) && (*number < flush || event.is_fua())
                };
                let last = done.iter().enumerate().rfind(covers);
                last.map_or(0, |(number, _)| number + 1)
            };
            for sector in 0..32 {
                let source = view.source(sector) as usize;
                prop_assert!((owed(sector)..=events).contains(&source), "{text}: {state}: {sector}");
                let own = source.checked_sub(1).map(|number| trace.events()[number].sectors());
                prop_assert!(own.is_none_or(|own| own.contains(&sector)));
            }
        }
    }

    /// Whatever was looked at before, a state is the same disk, with the same print.
    #[test]
    fn a_state_is_the_same_from_anywhere(text in words(), seed in any::<u64>()) {
        let (disk, _file) = disk(32, 255);
        let trace = drawn(&text);
        let all: Vec<State> = states(&trace, &(5..8), seed, 40).collect();
        let mut one = View::new(&disk, &trace);
        let mut there = Vec::new();
        for state in &all {
            one.enter(*state);
            there.push((one.prints(), sectors(&one, 32)));
        }
        for (state, expected) in all.iter().zip(&there).rev() {
            one.enter(*state);
            prop_assert_eq!(&(one.prints(), sectors(&one, 32)), expected);
        }
        // As many disks as there are prints, one for each.
        let by_print: std::collections::HashMap<_, _> = there.iter().cloned().collect();
        for (prints, disk) in there {
            prop_assert_eq!(&by_print[&prints], &disk);
        }
    }
}
