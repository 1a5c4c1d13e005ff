//! One unit's state machine: pure, total, and the only place that decides.
//!
//! ```text
//!  Stopped --Start--> Waiting --Ready--> Starting --Started--> Running
//!     ^                                     |                     |  \--Stop, Unhealthy--> Stopping
//!     |                                StartFailed              Exit              | Exit
//!     |                                     v                     v               v
//!     +----------- Exited/Failed <------ Cleaning <---------------+---------------+
//!                     Backoff <-------------+ (and from there to Waiting, or Gone)
//! ```
//!
//! A container exists in Starting, Running, Stopping and Cleaning only. What is
//! wanted lives in the state too: Stopped, Exited, Failed and Gone do not want
//! to run; a Next says what a container that ends makes room for. Every pair of
//! state and event is written out. Time is milliseconds of the boot clock.

mod model;

pub use model::{Action, Event, Exit, Machine, Next, Policy, STEADY_MS, State};

/// The unit after `event` at `now`, and what to do.
pub fn step(
    mut unit: Machine,
    event: Event,
    now: u64,
    policy: Policy,
) -> (Machine, Option<Action>) {
    let state = std::mem::replace(&mut unit.state, State::Stopped);
    let (state, action) = match state {
        State::Stopped | State::Exited(_) | State::Failed => resting(&mut unit, state, event),
        State::Waiting => waiting(event),
        State::Starting { then } => starting(&mut unit, then, event, now, policy),
        State::Running { since } => running(&mut unit, since, event, now, policy),
        State::Stopping { kill_at, next } => stopping(&mut unit, kill_at, next, event, now),
        State::Cleaning { next } => cleaning(&mut unit, next, event, now),
        State::Backoff { until } => backoff(&mut unit, until, event, now),
        State::Gone => gone(event),
    };
    unit.state = state;
    (unit, action)
}

fn resting(unit: &mut Machine, state: State, event: Event) -> (State, Option<Action>) {
    match event {
        Event::Start | Event::Restart => {
            unit.fresh();
            (State::Waiting, None)
        }
        // An end that the policy left at that is reconsidered when the file
        // changes; a stop by an operator is not.
        Event::Changed => match state {
            State::Exited(_) | State::Failed => {
                unit.fresh();
                (State::Waiting, None)
            }
            other => (other, None),
        },
        Event::Stop => (State::Stopped, None),
        Event::Remove => (State::Gone, Some(Action::Forget)),
        Event::Returned
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Exited(_)
        | Event::Cleaned
        | Event::Tick => (state, None),
    }
}

fn waiting(event: Event) -> (State, Option<Action>) {
    match event {
        Event::Ready => (State::Starting { then: None }, Some(Action::Create)),
        Event::Stop => (State::Stopped, None),
        Event::Remove => (State::Gone, Some(Action::Forget)),
        Event::Start
        | Event::Restart
        | Event::Changed
        | Event::Returned
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Exited(_)
        | Event::Cleaned
        | Event::Tick => (State::Waiting, None),
    }
}

fn starting(
    unit: &mut Machine,
    then: Option<Next>,
    event: Event,
    now: u64,
    policy: Policy,
) -> (State, Option<Action>) {
    match event {
        Event::Stop => (keep_removal(then, Next::Stop), None),
        Event::Restart | Event::Changed => (keep_removal(then, Next::Again), None),
        Event::Remove => {
            let then = Some(Next::Remove);
            (State::Starting { then }, None)
        }
        // The container that is being made may be that of an older file.
        Event::Returned => match then {
            Some(Next::Remove) => {
                let then = Some(Next::Again);
                (State::Starting { then }, None)
            }
            other => (State::Starting { then: other }, None),
        },
        // A stop that was not carried out yet is taken back.
        Event::Start => match then {
            Some(Next::Stop) => (State::Starting { then: None }, None),
            other => (State::Starting { then: other }, None),
        },
        Event::Started => match then {
            None => (State::Running { since: now }, None),
            Some(next) => stop(next, now, policy),
        },
        Event::StartFailed => {
            let next = match then {
                Some(next) => next,
                None => unit.after(None, policy),
            };
            (State::Cleaning { next }, Some(Action::Clean))
        }
        // The owner reports an exit only after Started.
        Event::Exited(_)
        | Event::Unhealthy
        | Event::Ready
        | Event::Retry
        | Event::Cleaned
        | Event::Tick => (State::Starting { then }, None),
    }
}

fn keep_removal(then: Option<Next>, wanted: Next) -> State {
    let then = match then {
        Some(Next::Remove) => Next::Remove,
        Some(_) | None => wanted,
    };
    State::Starting { then: Some(then) }
}

fn stop(next: Next, now: u64, policy: Policy) -> (State, Option<Action>) {
    let kill_at = Some(now.saturating_add(policy.stop_timeout_ms));
    (State::Stopping { kill_at, next }, Some(Action::Terminate))
}

fn running(
    unit: &mut Machine,
    since: u64,
    event: Event,
    now: u64,
    policy: Policy,
) -> (State, Option<Action>) {
    match event {
        Event::Stop => stop(Next::Stop, now, policy),
        Event::Restart | Event::Changed => {
            unit.fresh();
            stop(Next::Again, now, policy)
        }
        Event::Remove => stop(Next::Remove, now, policy),
        Event::Exited(exit) => {
            unit.ran(now.saturating_sub(since));
            let next = unit.after(Some(exit), policy);
            (State::Cleaning { next }, Some(Action::Clean))
        }
        Event::Unhealthy => {
            unit.ran(now.saturating_sub(since));
            match unit.unwell(policy) {
                Some(next) => stop(next, now, policy),
                None => (State::Running { since }, None),
            }
        }
        Event::Start
        | Event::Returned
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Cleaned
        | Event::Tick => (State::Running { since }, None),
    }
}

/// What follows when a request meets an end that is under way.
fn redirect(unit: &mut Machine, next: Next, event: &Event) -> Next {
    match (event, next) {
        // What the unit wrote is to outlive an editor that deletes and writes.
        (Event::Returned, Next::Remove) => {
            unit.fresh();
            Next::Again
        }
        (_, Next::Remove) | (Event::Remove, _) => Next::Remove,
        (Event::Stop, _) => Next::Stop,
        (Event::Start | Event::Restart, _) => {
            unit.fresh();
            Next::Again
        }
        (Event::Changed, Next::Stop) => Next::Stop,
        (Event::Changed, Next::Again | Next::Later(_) | Next::Exited(_) | Next::Failed) => {
            Next::Again
        }
        (Event::Retry, Next::Later(_)) => Next::Again,
        (
            Event::Returned
            | Event::Ready
            | Event::Retry
            | Event::Started
            | Event::StartFailed
            | Event::Unhealthy
            | Event::Exited(_)
            | Event::Cleaned
            | Event::Tick,
            next,
        ) => next,
    }
}

fn stopping(
    unit: &mut Machine,
    kill_at: Option<u64>,
    next: Next,
    event: Event,
    now: u64,
) -> (State, Option<Action>) {
    let next = redirect(unit, next, &event);
    match event {
        Event::Exited(_) => (State::Cleaning { next }, Some(Action::Clean)),
        Event::Tick if kill_at.is_some_and(|at| now >= at) => {
            let kill_at = None;
            (State::Stopping { kill_at, next }, Some(Action::Kill))
        }
        Event::Start
        | Event::Stop
        | Event::Restart
        | Event::Changed
        | Event::Remove
        | Event::Returned
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Cleaned
        | Event::Tick => (State::Stopping { kill_at, next }, None),
    }
}

fn cleaning(unit: &mut Machine, next: Next, event: Event, now: u64) -> (State, Option<Action>) {
    let next = redirect(unit, next, &event);
    match event {
        Event::Cleaned => match next {
            Next::Stop => (State::Stopped, None),
            Next::Again => (State::Waiting, None),
            Next::Later(pause) => {
                let until = now.saturating_add(pause);
                (State::Backoff { until }, None)
            }
            Next::Exited(exit) => (State::Exited(exit), None),
            Next::Failed => (State::Failed, None),
            Next::Remove => (State::Gone, Some(Action::Forget)),
        },
        Event::Start
        | Event::Stop
        | Event::Restart
        | Event::Changed
        | Event::Remove
        | Event::Returned
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Exited(_)
        | Event::Tick => (State::Cleaning { next }, None),
    }
}

fn backoff(unit: &mut Machine, until: u64, event: Event, now: u64) -> (State, Option<Action>) {
    match event {
        Event::Start | Event::Restart | Event::Changed => {
            unit.fresh();
            (State::Waiting, None)
        }
        Event::Retry => (State::Waiting, None),
        Event::Stop => (State::Stopped, None),
        Event::Remove => (State::Gone, Some(Action::Forget)),
        Event::Tick if now >= until => {
            unit.restarts = unit.restarts.saturating_add(1);
            (State::Waiting, None)
        }
        Event::Tick
        | Event::Returned
        | Event::Ready
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Exited(_)
        | Event::Cleaned => (State::Backoff { until }, None),
    }
}

fn gone(event: Event) -> (State, Option<Action>) {
    match event {
        // Its data is being deleted, under which no container may start. A
        // file that is back is found when that is done.
        Event::Start
        | Event::Stop
        | Event::Restart
        | Event::Changed
        | Event::Remove
        | Event::Returned
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Unhealthy
        | Event::Exited(_)
        | Event::Cleaned
        | Event::Tick => (State::Gone, None),
    }
}

#[cfg(test)]
mod tests;
