//! One unit's state machine: pure, total, and the only place that decides.
//!
//! ```text
//!  Stopped --Start--> Waiting --Ready--> Starting --Started--> Running
//!     ^                                     |                     |  \--Stop--> Stopping
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

use orlop_unit::RestartPolicy;
use serde::{Deserialize, Serialize};

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Whether it ended as it should.
    pub fn success(self) -> bool {
        self.code == Some(0)
    }

    /// In words, for reasons.
    pub fn words(self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended unseen".to_owned(),
        }
    }
}

/// What follows once a container is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Nothing: an operator stopped it.
    Stop,
    /// A new container, at once.
    Again,
    /// A new container, after a pause of so many milliseconds.
    Later(u64),
    /// Nothing: it ended with success and the policy leaves it at that.
    Exited(Exit),
    /// Nothing: it ended badly and the policy leaves it at that.
    Failed,
    /// The unit goes.
    Remove,
}

/// What a unit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Not wanted.
    Stopped,
    /// Wanted; something it requires is not ready.
    Waiting,
    /// A container is being made. With `then`, it is to end as soon as it is there.
    Starting {
        /// What to do instead of running.
        then: Option<Next>,
    },
    /// The container runs.
    Running {
        /// Since when.
        since: u64,
    },
    /// The container was told to end.
    Stopping {
        /// When it is killed; `None` once it was.
        kill_at: Option<u64>,
        /// What follows.
        next: Next,
    },
    /// The container ended; what it held is being given back.
    Cleaning {
        /// What follows.
        next: Next,
    },
    /// It will be tried again.
    Backoff {
        /// When.
        until: u64,
    },
    /// Done, with success.
    Exited(Exit),
    /// Given up.
    Failed,
    /// Removed: the last state.
    Gone,
}

/// What happens to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An operator, or the boot, wants it.
    Start,
    /// An operator does not want it.
    Stop,
    /// A new container is wanted: by an operator, or as the file changed.
    Restart,
    /// Its file changed: as Restart, but a unit that is not wanted stays so.
    Changed,
    /// Its file is gone.
    Remove,
    /// All that it requires is ready.
    Ready,
    /// Something it waited for in vain is there (an image): do not back off longer.
    Retry,
    /// The container runs.
    Started,
    /// The container could not be made; what there is of it is to be cleaned.
    StartFailed,
    /// The container's process ended.
    Exited(Exit),
    /// What the container held is given back.
    Cleaned,
    /// Time passed.
    Tick,
}

/// What to do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make and start a container; ends in Started or `StartFailed`.
    Create,
    /// Send the stop signal.
    Terminate,
    /// Send SIGKILL.
    Kill,
    /// Give back what the container held; ends in Cleaned.
    Clean,
    /// Forget the unit.
    Forget,
}

/// What the unit's file says about restarting and stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When to restart.
    pub restart: RestartPolicy,
    /// First pause in milliseconds.
    pub backoff_min_ms: u64,
    /// Longest pause in milliseconds.
    pub backoff_max_ms: u64,
    /// How long a container may take to end, in milliseconds.
    pub stop_timeout_ms: u64,
}

/// A container that ran so long starts the backoff over, in milliseconds.
pub const STEADY_MS: u64 = 10_000;

/// A unit's state with what its restarts have come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The state.
    pub state: State,
    /// Ends in a row without a steady run.
    pub streak: u32,
    /// Restarts without being asked.
    pub restarts: u32,
}

impl Machine {
    /// A unit that nothing has happened to.
    pub fn new() -> Machine {
        Machine {
            state: State::Stopped,
            streak: 0,
            restarts: 0,
        }
    }

    /// When a Tick is due.
    pub fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Stopping { kill_at, next: _ } => *kill_at,
            State::Backoff { until } => Some(*until),
            State::Stopped
            | State::Waiting
            | State::Starting { then: _ }
            | State::Running { since: _ }
            | State::Cleaning { next: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => None,
        }
    }

    /// Whether it is wanted to run, now or after what is under way.
    pub fn wanted(&self) -> bool {
        match &self.state {
            State::Waiting | State::Running { since: _ } | State::Backoff { until: _ } => true,
            State::Starting { then: None } => true,
            State::Starting { then: Some(next) }
            | State::Stopping { kill_at: _, next }
            | State::Cleaning { next } => match next {
                Next::Again | Next::Later(_) => true,
                Next::Stop | Next::Exited(_) | Next::Failed | Next::Remove => false,
            },
            State::Stopped | State::Exited(_) | State::Failed | State::Gone => false,
        }
    }

    fn fresh(&mut self) {
        self.streak = 0;
        self.restarts = 0;
    }

    /// What follows an end that nobody asked for.
    fn after(&mut self, exit: Option<Exit>, policy: Policy) -> Next {
        let success = exit.is_some_and(Exit::success);
        let again = match policy.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !success,
            RestartPolicy::Never => false,
        };
        if again {
            let doubled = 1_u64.checked_shl(self.streak).unwrap_or(u64::MAX);
            let pause = policy.backoff_min_ms.saturating_mul(doubled);
            self.streak = (self.streak + 1).min(32);
            return Next::Later(pause.min(policy.backoff_max_ms.max(policy.backoff_min_ms)));
        }
        match exit {
            Some(exit) if success => Next::Exited(exit),
            Some(_) | None => Next::Failed,
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

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
        Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
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
        | Event::Retry
        | Event::Started
        | Event::StartFailed
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
        Event::Exited(_) | Event::Ready | Event::Retry | Event::Cleaned | Event::Tick => {
            (State::Starting { then }, None)
        }
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
            if now.saturating_sub(since) >= STEADY_MS {
                unit.streak = 0;
            }
            let next = unit.after(Some(exit), policy);
            (State::Cleaning { next }, Some(Action::Clean))
        }
        Event::Start
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
            Event::Ready
            | Event::Retry
            | Event::Started
            | Event::StartFailed
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
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
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
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
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
        | Event::Ready
        | Event::Started
        | Event::StartFailed
        | Event::Exited(_)
        | Event::Cleaned => (State::Backoff { until }, None),
    }
}

fn gone(event: Event) -> (State, Option<Action>) {
    match event {
        // The file is back.
        Event::Start => (State::Waiting, None),
        Event::Stop
        | Event::Restart
        | Event::Changed
        | Event::Remove
        | Event::Ready
        | Event::Retry
        | Event::Started
        | Event::StartFailed
        | Event::Exited(_)
        | Event::Cleaned
        | Event::Tick => (State::Gone, None),
    }
}

#[cfg(test)]
mod tests;
