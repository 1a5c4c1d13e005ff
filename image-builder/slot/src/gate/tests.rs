//! Trials as histories: how the units were at which second, and what that came to.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    settle_ms: 10_000,
    deadline_ms: 60_000,
};

fn unit(name: &str, part: Part, condition: Condition) -> Watched {
    Watched {
        name: name.to_owned(),
        part,
        container: "1".to_owned(),
        condition,
    }
}

fn unwell() -> Condition {
    Condition::Unwell("no answer".to_owned())
}

/// The gate after `history`: seconds, and the units from then on.
fn after(history: &[(u64, Vec<Watched>)]) -> Gate {
    history.iter().fold(Gate::new(0), |gate, (at_s, units)| {
        gate.step(units, at_s * 1000, LIMITS)
    })
}

fn blamed(gate: &Gate) -> Vec<(&str, &str)> {
    match gate {
        Gate::Failed(blames) => blames
            .iter()
            .map(|blame| (blame.unit.as_str(), blame.reason.as_str()))
            .collect(),
        Gate::Waiting { .. } | Gate::Passed => panic!("not failed: {gate:?}"),
    }
}

#[test]
fn units_pass_once_they_were_well_for_long_enough() {
    use Condition::{Done, Well};
    use Part::{Gate as Yes, Plain, Unknown};
    let passes = |units: &[Watched]| {
        let gate = after(&[(0, units.to_vec()), (9, units.to_vec())]);
        assert!(matches!(gate, Gate::Waiting { .. }), "too soon: {units:?}");
        gate.step(units, 10_000, LIMITS) == Gate::Passed
    };
    let cases: [(&[Watched], bool); 9] = [
        (&[], true),
        (&[unit("web", Yes, Well)], true),
        (&[unit("web", Yes, unwell())], false),
        // Where there are gate units, no others count.
        (
            &[unit("web", Yes, Well), unit("job", Plain, unwell())],
            true,
        ),
        (
            &[unit("web", Plain, Well), unit("job", Plain, unwell())],
            false,
        ),
        (&[unit("web", Plain, Well), unit("job", Plain, Done)], true),
        // A gate unit has to be healthy, not to have been.
        (&[unit("web", Yes, Done)], false),
        // What cannot be read may have been one.
        (
            &[unit("web", Yes, Well), unit("new", Unknown, unwell())],
            false,
        ),
        (
            &[unit("web", Plain, Well), unit("new", Unknown, unwell())],
            false,
        ),
    ];
    for (units, expected) in cases {
        assert_eq!(passes(units), expected, "{units:?}");
    }
}

#[test]
fn whoever_falls_ill_or_begins_anew_has_to_settle_anew() {
    let well = || unit("web", Part::Gate, Condition::Well);
    let ill = unit("web", Part::Gate, unwell());
    let mut other = well();
    other.container = "2".to_owned();
    for between in [ill, other.clone()] {
        let history = [
            (0, vec![well()]),
            (5, vec![between]),
            (6, vec![other.clone()]),
        ];
        let gate = after(&history);
        let gate = gate.step(&[other.clone()], 14_999, LIMITS);
        assert!(matches!(gate, Gate::Waiting { .. }), "{gate:?}");
        let gate = gate.step(&[other.clone()], 16_000, LIMITS);
        assert_eq!(gate, Gate::Passed);
    }
}

#[test]
fn the_deadline_names_who_was_not_well() {
    let units = vec![
        unit("db", Part::Gate, Condition::Well),
        unit("web", Part::Gate, unwell()),
    ];
    let gate = after(&[(0, units.clone()), (59, units.clone())]);
    assert_eq!(gate.waits_for(&units, 59_000, LIMITS).len(), 1);
    let gate = gate.step(&units, 60_000, LIMITS);
    assert_eq!(blamed(&gate), [("web", "no answer")]);

    let late = vec![unit("web", Part::Gate, Condition::Well)];
    let gate = after(&[(0, units), (55, late.clone()), (60, late.clone())]);
    assert_eq!(
        blamed(&gate),
        [(
            "web",
            "well for 5 s of the 10 s that it has to be; before: no answer"
        )]
    );
    // To be well at last changes nothing any more.
    assert_eq!(gate.clone().step(&late, 90_000, LIMITS), gate);
}

#[test]
fn one_that_starts_again_is_blamed_for_what_ailed_it() {
    let coming = Condition::Coming("starting".to_owned());
    let at = |condition: &Condition| vec![unit("web", Part::Gate, condition.clone())];
    let gate = after(&[(0, at(&coming)), (60, at(&coming))]);
    assert_eq!(blamed(&gate), [("web", "starting")]);
    let gate = after(&[(0, at(&coming)), (30, at(&unwell())), (60, at(&coming))]);
    assert_eq!(blamed(&gate), [("web", "starting; before: no answer")]);
}

#[test]
fn who_settles_as_the_deadline_passes_has_made_it() {
    let units = vec![unit("web", Part::Gate, Condition::Well)];
    assert_eq!(after(&[(50, units.clone()), (60, units)]), Gate::Passed);
}

proptest! {
    /// However units come and go, the gate is decided at the deadline, and for good.
    #[test]
    fn it_is_decided_by_the_deadline_and_once(
        seen in prop::collection::vec((0_u64..5_000, prop::collection::vec((0_u8..3, 0_u8..3, 0_u8..3), 0..4)), 0..40),
    ) {
        let mut now_ms = 0;
        let mut gate = Gate::new(0);
        for (pause_ms, units) in seen {
            now_ms += pause_ms;
            let units: Vec<Watched> = units.into_iter().enumerate().map(|(index, (part, how, container))| Watched {
                name: index.to_string(),
                part: [Part::Gate, Part::Plain, Part::Unknown][usize::from(part)],
                container: container.to_string(),
                condition: [Condition::Well, Condition::Done, unwell()][usize::from(how)].clone(),
            }).collect();
            let before = gate.clone();
            gate = gate.step(&units, now_ms, LIMITS);
            match &before {
                Gate::Waiting { .. } => {}
                Gate::Passed | Gate::Failed(_) => prop_assert_eq!(&gate, &before),
            }
            match &gate {
                Gate::Waiting { .. } => prop_assert!(now_ms < LIMITS.deadline_ms),
                Gate::Passed => prop_assert!(now_ms >= LIMITS.settle_ms),
                Gate::Failed(_) => prop_assert!(now_ms >= LIMITS.deadline_ms),
            }
        }
    }
}
