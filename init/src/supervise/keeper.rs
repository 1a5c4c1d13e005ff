//! When the manager is started: at once when it had been running, later and
//! later when it never got that far.
//!
//! ```text
//!            Tick(due)           Started
//! Waiting ──────────► (Start) ──────────► Up ──Running──► Up, proven
//!    ▲                   │StartFailed      │Exited            │Exited
//!    └──────backoff──────┴─────────────────┘                  │
//!    └──────────────────────backoff starts over───────────────┘
//! Retired: the host is going down; nothing is started any more.
//! ```

/// The wait after a manager that had been running, in milliseconds: enough that
/// a loop of crashes cannot take a core for itself.
const FIRST_WAIT_MS: u64 = 50;
/// The longest wait, in milliseconds.
const LAST_WAIT_MS: u64 = 30_000;

/// What the manager is doing, as far as PID 1 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// None runs; the next is started at `due_ms`.
    Waiting { due_ms: u64, failures: u32 },
    /// This process runs; `failures` starts before it in a row never got to say
    /// that they run.
    Up {
        pid: i32,
        since_ms: u64,
        failures: u32,
    },
    /// None runs and none will.
    Retired,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// The start that was asked for gave this process.
    Started(i32),
    /// The start that was asked for failed.
    StartFailed,
    /// The manager says that it runs.
    Running,
    /// This process, which may be the manager, ended.
    Exited(i32),
    /// The host is going down.
    Retire,
}

impl Keeper {
    /// The state after `event`, and whether to start the manager now.
    pub(crate) fn step(self, event: Event, now_ms: u64) -> (Self, bool) {
        use Event::{Exited, Retire, Running, StartFailed, Started, Tick};
        use Keeper::{Retired, Up, Waiting};
        match (self, event) {
            (Waiting { due_ms, .. }, Tick) => (self, now_ms >= due_ms),
            (Waiting { failures, .. }, Started(pid)) => (
                Up {
                    pid,
                    since_ms: now_ms,
                    failures,
                },
                false,
            ),
            (Waiting { failures, .. }, StartFailed) => (wait(failures + 1, now_ms), false),
            (
                Up {
                    pid,
                    since_ms,
                    failures: _,
                },
                Running,
            ) => (
                Up {
                    pid,
                    since_ms,
                    failures: 0,
                },
                false,
            ),
            (Up { pid, failures, .. }, Exited(ended)) if pid == ended => {
                (wait(failures.saturating_add(1), now_ms), false)
            }
            (Waiting { .. } | Up { .. }, Retire) => (Retired, false),
            (Waiting { .. }, Running | Exited(_))
            | (Up { .. }, Tick | Started(_) | StartFailed | Exited(_))
            | (Retired, Tick | Started(_) | StartFailed | Running | Exited(_) | Retire) => {
                (self, false)
            }
        }
    }

    /// The manager's process, while there is one.
    pub(crate) fn pid(self) -> Option<i32> {
        match self {
            Self::Up { pid, .. } => Some(pid),
            Self::Waiting { .. } | Self::Retired => None,
        }
    }

    /// When [`Event::Tick`] is next of use.
    pub(crate) fn wake_ms(self) -> Option<u64> {
        match self {
            Self::Waiting { due_ms, .. } => Some(due_ms),
            Self::Up { .. } | Self::Retired => None,
        }
    }
}

/// Waits after the `failures`th end in a row (1 for one that had been running).
fn wait(failures: u32, now_ms: u64) -> Keeper {
    let factor = 1_u64
        .checked_shl(failures.saturating_sub(1).min(32))
        .unwrap_or(u64::MAX);
    let wait_ms = FIRST_WAIT_MS.saturating_mul(factor).min(LAST_WAIT_MS);
    Keeper::Waiting {
        due_ms: now_ms.saturating_add(wait_ms),
        failures: failures.min(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Exited, Retire, Running, StartFailed, Started, Tick};

    fn due(keeper: Keeper) -> u64 {
        keeper.wake_ms().unwrap()
    }

    #[test]
    fn crashes_before_running_wait_longer_and_longer_up_to_a_bound() {
        let mut keeper = Keeper::Waiting {
            due_ms: 0,
            failures: 0,
        };
        let mut now = 0;
        let mut waits = Vec::new();
        for pid in 10..24 {
            assert!(keeper.step(Tick, now).1);
            keeper = keeper.step(Started(pid), now).0;
            keeper = keeper.step(Exited(pid), now).0;
            waits.push(due(keeper) - now);
            assert!(!keeper.step(Tick, due(keeper) - 1).1);
            now = due(keeper);
        }
        assert_eq!(&waits[..4], [50, 100, 200, 400]);
        assert_eq!(waits.last(), Some(&LAST_WAIT_MS));
    }

    #[test]
    fn one_that_ran_is_restarted_soon_however_often() {
        let mut keeper = Keeper::Waiting {
            due_ms: 0,
            failures: 9,
        };
        for pid in 10..200 {
            keeper = keeper
                .step(Started(pid), 5)
                .0
                .step(Running, 6)
                .0
                .step(Exited(pid), 7)
                .0;
            assert_eq!(due(keeper), 7 + FIRST_WAIT_MS);
        }
    }

    #[test]
    fn every_state_bears_every_event() {
        let states = [
            Keeper::Waiting {
                due_ms: 5,
                failures: u32::MAX - 1,
            },
            Keeper::Up {
                pid: 3,
                since_ms: 0,
                failures: u32::MAX,
            },
            Keeper::Retired,
        ];
        for state in states {
            for event in [
                Tick,
                Started(4),
                StartFailed,
                Running,
                Exited(3),
                Exited(9),
                Retire,
            ] {
                for now in [0, 7, u64::MAX] {
                    let (next, start) = state.step(event, now);
                    if state == Keeper::Retired {
                        assert_eq!((next, start), (Keeper::Retired, false));
                    }
                }
            }
        }
        let up = Keeper::Up {
            pid: 3,
            since_ms: 0,
            failures: 0,
        };
        assert_eq!(
            up.step(Exited(9), 1).0,
            up,
            "a stranger's end is not the manager's"
        );
    }
}
