//! The words of the machine: states, events, actions.

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
    /// Its file is back: a removal that is under way is taken back.
    Returned,
    /// All that it requires is ready.
    Ready,
    /// Something it waited for in vain is there (an image): do not back off longer.
    Retry,
    /// The container runs.
    Started,
    /// The container could not be made; what there is of it is to be cleaned.
    StartFailed,
    /// The container's health stays bad.
    Unhealthy,
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

    /// Whether it goes once its container is gone.
    pub fn leaving(&self) -> bool {
        match &self.state {
            State::Starting { then: Some(next) }
            | State::Stopping { kill_at: _, next }
            | State::Cleaning { next } => *next == Next::Remove,
            State::Starting { then: None }
            | State::Stopped
            | State::Waiting
            | State::Running { since: _ }
            | State::Backoff { until: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => false,
        }
    }

    pub(super) fn fresh(&mut self) {
        self.streak = 0;
        self.restarts = 0;
    }

    /// Takes note of how long a container ran.
    pub(super) fn ran(&mut self, for_ms: u64) {
        if for_ms >= STEADY_MS {
            self.streak = 0;
        }
    }

    /// What follows bad health: nothing if the policy leaves it at that.
    pub(super) fn unwell(&mut self, policy: Policy) -> Option<Next> {
        match policy.restart {
            RestartPolicy::Always | RestartPolicy::OnFailure => Some(self.after(None, policy)),
            RestartPolicy::Never => None,
        }
    }

    /// What follows an end that nobody asked for.
    pub(super) fn after(&mut self, exit: Option<Exit>, policy: Policy) -> Next {
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
