//! What to do about a container that an earlier manager left: pure, as
//! [`super::state`] is.

use super::record::Phase;
use super::state::State;

/// How often a container is looked at when the look itself fails.
pub(super) const LOOKS_MAX: u32 = 5;

/// What a look at a container came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// It has this status.
    Status(&'a str),
    /// There is no trace of it.
    Nothing,
    /// The look failed, so many times in a row.
    Failed(u32),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Leave,
    /// Nothing of the image has run: begin again, at once.
    Again,
    /// Its process waits to be let go.
    LetGo(i32),
    /// It was let go: whether it runs or has ended, it has started.
    Started,
    /// It runs: be connected to it.
    Running,
    /// It was told to end, by SIGKILL or by its stop signal: tell it again.
    Stop {
        /// By SIGKILL.
        kill: bool,
    },
    /// Nobody knows whether it was let go: look again.
    Look,
    /// Nobody will know: it goes.
    GiveUp,
}

/// What to do about a container whose unit is in `state` and whose making had
/// come to `phase`.
pub(super) fn judge(state: &State, phase: Phase, seen: Seen<'_>) -> Verdict {
    match state {
        State::Starting { then: _ } => starting(phase, seen),
        State::Running { since: _ } => Verdict::Running,
        State::Stopping { kill_at, next: _ } => Verdict::Stop {
            kill: kill_at.is_none(),
        },
        State::Stopped
        | State::Waiting
        | State::Cleaning { next: _ }
        | State::Backoff { until: _ }
        | State::Exited(_)
        | State::Failed
        | State::Gone => Verdict::Leave,
    }
}

fn starting(phase: Phase, seen: Seen<'_>) -> Verdict {
    match phase {
        Phase::Creating => Verdict::Again,
        Phase::Starting { pid, start_time: _ } => match seen {
            Seen::Status("created") => Verdict::LetGo(pid),
            Seen::Status(_) | Seen::Nothing => Verdict::Started,
            Seen::Failed(looks) if looks < LOOKS_MAX => Verdict::Look,
            Seen::Failed(_) => Verdict::GiveUp,
        },
        Phase::Running {
            pid: _,
            start_time: _,
            started_at_ms: _,
        } => Verdict::Started,
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::{Exit, Next};
    use super::*;

    #[test]
    fn every_find_has_its_verdict() {
        let (creating, waits) = (
            Phase::Creating,
            Phase::Starting {
                pid: 5,
                start_time: 7,
            },
        );
        let runs = Phase::Running {
            pid: 5,
            start_time: 7,
            started_at_ms: 0,
        };
        let starting = State::Starting { then: None };
        let running = State::Running { since: 0 };
        let stopping = |kill_at| State::Stopping {
            kill_at,
            next: Next::Stop,
        };
        let cases = [
            (&starting, creating, Seen::Nothing, Verdict::Again),
            (&starting, creating, Seen::Status("created"), Verdict::Again),
            (&starting, creating, Seen::Failed(1), Verdict::Again),
            (&starting, waits, Seen::Status("created"), Verdict::LetGo(5)),
            (&starting, waits, Seen::Status("running"), Verdict::Started),
            (&starting, waits, Seen::Status("stopped"), Verdict::Started),
            (&starting, waits, Seen::Nothing, Verdict::Started),
            // Not to be taken for one that was let go: it may wait for ever.
            (&starting, waits, Seen::Failed(1), Verdict::Look),
            (&starting, waits, Seen::Failed(LOOKS_MAX - 1), Verdict::Look),
            (&starting, waits, Seen::Failed(LOOKS_MAX), Verdict::GiveUp),
            (&starting, runs, Seen::Failed(1), Verdict::Started),
            // Its process tells whether it runs, not the runtime.
            (&running, runs, Seen::Status("running"), Verdict::Running),
            (&running, runs, Seen::Nothing, Verdict::Running),
            (&running, runs, Seen::Failed(9), Verdict::Running),
        ];
        for (state, phase, seen, verdict) in cases {
            assert_eq!(
                judge(state, phase, seen),
                verdict,
                "{state:?} {phase:?} {seen:?}"
            );
        }
        for seen in [Seen::Status("running"), Seen::Nothing, Seen::Failed(1)] {
            let (kill, ask) = (stopping(None), stopping(Some(1)));
            assert_eq!(judge(&kill, runs, seen), Verdict::Stop { kill: true });
            assert_eq!(judge(&ask, runs, seen), Verdict::Stop { kill: false });
            let ended = Exit {
                code: Some(0),
                signal: None,
            };
            for state in [
                State::Stopped,
                State::Waiting,
                State::Cleaning { next: Next::Again },
                State::Backoff { until: 0 },
                State::Exited(ended),
                State::Failed,
                State::Gone,
            ] {
                assert_eq!(judge(&state, runs, seen), Verdict::Leave, "{state:?}");
            }
        }
    }
}
