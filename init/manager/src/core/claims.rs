//! Whose exit it is that PID 1 tells of, and what comes of it.

use orlop_control::types::EventKind;
use orlop_handover::ToInit;

use super::exits::Recorded;
use super::owner::Owner;
use super::state::{Event, Exit, Next, State};

impl Owner {
    /// An exit that PID 1 tells of: its unit's, or one for later, or nobody's.
    pub(super) fn exited(&mut self, exit: Recorded) {
        let process = (exit.pid, exit.start_time);
        let owner = self.units.iter().find(|(_, entry)| {
            let container = entry.container.as_ref();
            container.and_then(|container| container.phase.process()) == Some(process)
        });
        match owner.map(|(name, _)| name.clone()) {
            Some(name) => self.claim(&name, exit),
            // Told again, as it is not acknowledged yet: its unit knows already.
            None if self.unrecorded.holds(&exit) => {}
            None if self.creating() => self.unclaimed.push(exit),
            None => self.ack(&exit),
        }
    }

    fn creating(&self) -> bool {
        self.units.values().any(|entry| {
            let container = entry.container.as_ref();
            container.is_some_and(|container| container.phase.process().is_none())
        })
    }

    /// Looks again at the exits that could not be recorded, and at those that
    /// nobody was known for.
    pub(super) fn sort_unclaimed(&mut self) {
        let (exits, units) = (self.tools.paths.exits(), &self.units);
        let settled = self
            .unrecorded
            .settle(&exits, |unit| units.contains_key(unit));
        for exit in settled {
            self.ack(&exit);
        }
        for exit in std::mem::take(&mut self.unclaimed) {
            self.exited(exit);
        }
    }

    pub(super) fn ack(&mut self, exit: &Recorded) {
        let (pid, start_time) = (exit.pid, exit.start_time);
        self.init.say(ToInit::Ack { pid, start_time }, Vec::new());
    }

    /// Records a unit's exit and steps the unit. PID 1 is told to forget it only
    /// once it is on record; the unit does not wait for that, as its process is
    /// gone whether the disk has room or not.
    fn claim(&mut self, name: &str, mut exit: Recorded) {
        let state = self.units.get(name).map(|entry| &entry.machine.state);
        let may_be = state.is_some_and(|state| for_memory(state, exit.signal));
        exit.out_of_memory |= may_be && self.out_of_memory(name);
        let exits = self.tools.paths.exits();
        let told = self.unrecorded.holds(&exit);
        let recorded = match told {
            true => None,
            false => self.unrecorded.record(&exits, name, &exit),
        };
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        entry.last_exit = Some(exit.clone());
        let words = Exit {
            code: exit.code,
            signal: exit.signal,
        };
        match &entry.machine.state {
            // What it was stopped for says more than how that went.
            State::Stopping {
                kill_at: _,
                next: Next::Later(_),
            } => self.step(name, Event::Exited(words)),
            State::Running { since: _ }
            | State::Stopping {
                kill_at: _,
                next: _,
            } => {
                entry.problem = None;
                self.step(name, Event::Exited(words));
            }
            State::Starting { then: _ } => entry.early_exit = Some(exit.clone()),
            State::Stopped
            | State::Waiting
            | State::Cleaning { next: _ }
            | State::Backoff { until: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => {}
        }
        if !told && recorded != Some(false) {
            self.tell(EventKind::UnitExit {
                unit: name.to_owned(),
                exit: super::entry::last_exit(&exit),
            });
        }
        if recorded.is_some() {
            self.ack(&exit);
        }
    }

    fn out_of_memory(&self, name: &str) -> bool {
        let events = self.tools.paths.cgroup(name).join("memory.events");
        let text = std::fs::read_to_string(events).unwrap_or_default();
        text.lines().any(|line| {
            line.strip_prefix("oom_kill ")
                .is_some_and(|count| count != "0")
        })
    }
}

/// Whether an end may be the kernel's doing for lack of memory: it kills by
/// SIGKILL, and so does the manager what did not stop in time or is cleaned.
fn for_memory(state: &State, signal: Option<i32>) -> bool {
    match state {
        State::Stopping {
            kill_at: None,
            next: _,
        }
        | State::Cleaning { next: _ } => false,
        State::Stopping {
            kill_at: Some(_),
            next: _,
        }
        | State::Starting { then: _ }
        | State::Running { since: _ }
        | State::Stopped
        | State::Waiting
        | State::Backoff { until: _ }
        | State::Exited(_)
        | State::Failed
        | State::Gone => signal == Some(9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_of_the_managers_own_is_not_put_down_to_memory() {
        let stopping = |kill_at| State::Stopping {
            kill_at,
            next: Next::Stop,
        };
        let running = State::Running { since: 0 };
        for (state, signal, expected) in [
            (&running, Some(9), true),
            (&running, Some(15), false),
            (&running, None, false),
            (&stopping(Some(7)), Some(9), true),
            (&stopping(None), Some(9), false),
            (&State::Cleaning { next: Next::Again }, Some(9), false),
        ] {
            assert_eq!(for_memory(state, signal), expected, "{state:?} {signal:?}");
        }
    }
}
