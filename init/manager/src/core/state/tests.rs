//! The state machine, case by case, and what holds for every path through it.

use super::*;
use orlop_unit::RestartPolicy;
use proptest::prelude::*;

const POLICY: Policy = Policy {
    restart: RestartPolicy::Always,
    backoff_min_ms: 1_000,
    backoff_max_ms: 60_000,
    stop_timeout_ms: 10_000,
};
const OK: Exit = Exit {
    code: Some(0),
    signal: None,
};
const BAD: Exit = Exit {
    code: Some(3),
    signal: None,
};

fn play(restart: RestartPolicy, events: &[(u64, Event)]) -> (Vec<State>, Vec<Action>) {
    let policy = Policy { restart, ..POLICY };
    let mut unit = Machine::new();
    let (mut states, mut actions) = (Vec::new(), Vec::new());
    for (now, event) in events {
        let (after, action) = step(unit, event.clone(), *now, policy);
        unit = after;
        states.push(unit.state.clone());
        actions.extend(action);
    }
    (states, actions)
}

fn started() -> Vec<(u64, Event)> {
    vec![(0, Event::Start), (0, Event::Ready), (1, Event::Started)]
}

fn last(restart: RestartPolicy, more: &[(u64, Event)]) -> State {
    let events: Vec<_> = started().into_iter().chain(more.iter().cloned()).collect();
    play(restart, &events).0.pop().unwrap()
}

#[test]
fn the_policy_decides_what_an_exit_leads_to() {
    use RestartPolicy::{Always, Never, OnFailure};
    let back = |pause: u64| State::Backoff { until: 60 + pause };
    let cases = [
        (Always, OK, back(1_000)),
        (Always, BAD, back(1_000)),
        (OnFailure, OK, State::Exited(OK)),
        (OnFailure, BAD, back(1_000)),
        (Never, OK, State::Exited(OK)),
        (Never, BAD, State::Failed),
    ];
    for (restart, exit, expected) in cases {
        let state = last(restart, &[(50, Event::Exited(exit)), (60, Event::Cleaned)]);
        assert_eq!(state, expected, "{restart:?} {exit:?}");
    }
}

#[test]
fn the_policy_decides_what_bad_health_leads_to() {
    use RestartPolicy::{Always, Never, OnFailure};
    let ill = (50, Event::Unhealthy);
    for restart in [Always, OnFailure] {
        // Its own way to end counts as little as how it ends.
        let next = Next::Later(1_000);
        let told = State::Stopping {
            kill_at: Some(10_050),
            next,
        };
        assert_eq!(
            last(restart, std::slice::from_ref(&ill)),
            told,
            "{restart:?}"
        );
        let ended = [ill.clone(), (60, Event::Exited(OK)), (70, Event::Cleaned)];
        let again = State::Backoff { until: 1_070 };
        assert_eq!(last(restart, &ended), again, "{restart:?}");
        let stopped = [ill.clone(), (55, Event::Stop), (60, Event::Exited(OK))];
        let next = Next::Stop;
        assert_eq!(last(restart, &stopped), State::Cleaning { next });
    }
    assert_eq!(
        last(Never, std::slice::from_ref(&ill)),
        State::Running { since: 1 }
    );
    let events: Vec<_> = started().into_iter().chain([ill]).collect();
    let (_, actions) = play(Always, &events);
    assert_eq!(actions, [Action::Create, Action::Terminate]);
}

#[test]
fn pauses_double_up_to_the_limit_and_start_over_after_a_steady_run() {
    let mut unit = Machine::new();
    let mut pauses = Vec::new();
    let mut now = 0;
    let mut round = |unit: Machine, ran: u64| {
        let mut unit = unit;
        for event in [Event::Start, Event::Ready, Event::Started] {
            if event != Event::Start || unit.state == State::Stopped {
                unit = step(unit, event, now, POLICY).0;
            }
        }
        now += ran;
        unit = step(unit, Event::Exited(BAD), now, POLICY).0;
        unit = step(unit, Event::Cleaned, now, POLICY).0;
        let until = unit.deadline().unwrap();
        pauses.push(until - now);
        now = until;
        step(unit, Event::Tick, now, POLICY).0
    };
    for _ in 0..8 {
        unit = round(unit, 5);
    }
    unit = round(unit, STEADY_MS);
    assert_eq!(
        pauses,
        [
            1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 1_000
        ]
    );
    assert_eq!(unit.restarts, 9);
}

#[test]
fn a_stop_ends_in_a_kill_when_the_signal_does_not_help() {
    let events: Vec<_> = started()
        .into_iter()
        .chain([
            (100, Event::Stop),
            (9_000, Event::Tick),
            (10_100, Event::Tick),
        ])
        .chain([(10_101, Event::Exited(BAD)), (10_102, Event::Cleaned)])
        .collect();
    let (states, actions) = play(RestartPolicy::Always, &events);
    assert_eq!(
        actions,
        [
            Action::Create,
            Action::Terminate,
            Action::Kill,
            Action::Clean
        ]
    );
    assert_eq!(states.last(), Some(&State::Stopped));
}

#[test]
fn requests_during_a_start_or_an_end_are_kept() {
    let again = [
        (5, Event::Stop),
        (6, Event::Start),
        (7, Event::Exited(OK)),
        (8, Event::Cleaned),
    ];
    assert_eq!(last(RestartPolicy::Never, &again), State::Waiting);
    let removed = [
        (5, Event::Remove),
        (6, Event::Start),
        (7, Event::Exited(OK)),
        (8, Event::Cleaned),
    ];
    assert_eq!(last(RestartPolicy::Always, &removed), State::Gone);
    // Only its file takes a removal back.
    let returned = [
        (5, Event::Remove),
        (6, Event::Returned),
        (7, Event::Exited(OK)),
        (8, Event::Cleaned),
    ];
    assert_eq!(last(RestartPolicy::Never, &returned), State::Waiting);
    let disabled = [
        (5, Event::Remove),
        (6, Event::Returned),
        (6, Event::Stop),
        (7, Event::Exited(OK)),
        (8, Event::Cleaned),
    ];
    assert_eq!(last(RestartPolicy::Always, &disabled), State::Stopped);
    let while_starting = [
        (0, Event::Start),
        (0, Event::Ready),
        (1, Event::Remove),
        (2, Event::Returned),
        (3, Event::StartFailed),
        (4, Event::Cleaned),
    ];
    let (states, _) = play(RestartPolicy::Never, &while_starting);
    assert_eq!(states.last(), Some(&State::Waiting));
    let stopped_while_starting = [
        (0, Event::Start),
        (0, Event::Ready),
        (1, Event::Stop),
        (2, Event::Started),
    ];
    let (states, actions) = play(RestartPolicy::Always, &stopped_while_starting);
    assert_eq!(actions, [Action::Create, Action::Terminate]);
    assert!(matches!(
        states.last(),
        Some(State::Stopping {
            next: Next::Stop,
            ..
        })
    ));
}

fn event() -> impl Strategy<Value = Event> {
    proptest::sample::select(vec![
        Event::Start,
        Event::Stop,
        Event::Restart,
        Event::Changed,
        Event::Remove,
        Event::Returned,
        Event::Ready,
        Event::Retry,
        Event::Started,
        Event::StartFailed,
        Event::Unhealthy,
        Event::Exited(OK),
        Event::Exited(BAD),
        Event::Cleaned,
        Event::Tick,
    ])
}

/// What the world answers to a state, so that a unit is never left alone.
fn answer(state: &State) -> Option<Event> {
    match state {
        State::Waiting => Some(Event::Ready),
        State::Starting { then: _ } => Some(Event::Started),
        State::Stopping {
            kill_at: _,
            next: _,
        } => Some(Event::Exited(BAD)),
        State::Cleaning { next: _ } => Some(Event::Cleaned),
        State::Backoff { until: _ } => Some(Event::Tick),
        State::Running { since: _ }
        | State::Stopped
        | State::Exited(_)
        | State::Failed
        | State::Gone => None,
    }
}

proptest! {
    #[test]
    fn no_state_is_stuck(events in proptest::collection::vec(event(), 0..40)) {
        let mut unit = Machine::new();
        let mut now = 0;
        for event in events {
            now += 7;
            unit = step(unit, event, now, POLICY).0;
        }
        for _ in 0..12 {
            let Some(event) = answer(&unit.state) else { return Ok(()) };
            now += 1_000_000;
            unit = step(unit, event, now, POLICY).0;
        }
        prop_assert!(false, "still {:?}", unit.state);
    }

    #[test]
    fn a_stop_is_final_until_asked(events in proptest::collection::vec(event(), 0..40)) {
        let mut unit = Machine::new();
        for event in events {
            unit = step(unit, event, 5, POLICY).0;
        }
        let mut unit = step(unit, Event::Stop, 6, POLICY).0;
        for _ in 0..12 {
            prop_assert!(!unit.wanted());
            let Some(event) = answer(&unit.state) else { break };
            unit = step(unit, event, 1_000_000, POLICY).0;
        }
        prop_assert!(matches!(unit.state, State::Stopped | State::Gone));
    }

    #[test]
    fn containers_come_one_at_a_time(events in proptest::collection::vec(event(), 0..60)) {
        // Only answers that fit what is under way reach a unit: the owner's part.
        let mut unit = Machine::new();
        let mut container = false;
        for event in events {
            let fits = match &event {
                Event::Started | Event::StartFailed => matches!(unit.state, State::Starting { .. }),
                Event::Exited(_) => matches!(unit.state, State::Running { .. } | State::Stopping { .. }),
                Event::Unhealthy => matches!(unit.state, State::Running { .. }),
                Event::Cleaned => matches!(unit.state, State::Cleaning { .. }),
                Event::Start | Event::Stop | Event::Restart | Event::Changed | Event::Remove
                | Event::Returned | Event::Ready | Event::Retry | Event::Tick => true,
            };
            if !fits { continue }
            let cleaned = event == Event::Cleaned;
            let (after, action) = step(unit, event, 5, POLICY);
            unit = after;
            if cleaned { container = false }
            if action == Some(Action::Create) {
                prop_assert!(!container);
                container = true;
            }
        }
    }
}
