//! How units are, as the gate of a host image on trial sees them.

use orlop_control::types::{ApiError, HealthState};
use orlop_slot::gate::{Condition, Part, Watched};

use super::entry::Entry;
use super::owner::Owner;
use super::state::State;
use crate::handle::Reply;

impl Owner {
    /// Tells how the units are that are to run; not while the host goes down,
    /// which is no fault of theirs.
    pub(super) fn tell_watched(&self, reply: Reply<Vec<Watched>>) {
        let going_down = self.stopping.is_some();
        let watched = || {
            let units = self.units.iter();
            units
                .filter_map(|(name, entry)| entry.watched(name))
                .collect()
        };
        let answer = match going_down {
            true => Err(ApiError::unavailable("the host is going down")),
            false => Ok(watched()),
        };
        let _ = reply.send(answer);
    }
}

impl Entry {
    /// How it is; `None` when it is not to run: its file is gone, it is being
    /// removed, or its file says `enabled = false`.
    fn watched(&self, name: &str) -> Option<Watched> {
        let leaves = self.machine.leaving() || self.machine.state == State::Gone;
        if leaves || self.fileless.is_some() {
            return None;
        }
        let unit = self.wanted.as_ref().or(self.current.as_ref());
        let unit = unit.map(|definition| definition.unit());
        let part = match unit {
            Some(unit) if !unit.enabled => return None,
            Some(unit) if unit.health.as_ref().is_some_and(|health| health.gate) => Part::Gate,
            Some(_) => Part::Plain,
            None => Part::Unknown,
        };
        let container = self.container.as_ref();
        Some(Watched {
            name: name.to_owned(),
            part,
            container: container.map_or_else(String::new, |container| container.id.clone()),
            condition: self.condition(),
        })
    }

    fn condition(&self) -> Condition {
        let told = |state: &dyn std::fmt::Display| match self.reason() {
            Some(reason) => format!("{state}: {reason}"),
            None => state.to_string(),
        };
        match &self.machine.state {
            State::Running { since: _ } => {
                let checked = self.effective().is_some_and(|d| d.unit().health.is_some());
                match (&self.trouble, checked, self.health) {
                    (Some(trouble), _, _) => Condition::Unwell(trouble.clone()),
                    (None, false, _) | (None, true, Some(HealthState::Healthy)) => Condition::Well,
                    (None, true, Some(HealthState::Starting) | None) => {
                        Condition::Coming("not healthy yet".to_owned())
                    }
                    (None, true, Some(HealthState::Unhealthy)) => {
                        Condition::Unwell(told(&"unhealthy"))
                    }
                }
            }
            State::Exited(_) => Condition::Done,
            State::Waiting | State::Starting { then: _ } => Condition::Coming(told(&self.state())),
            State::Stopped
            | State::Stopping {
                kill_at: _,
                next: _,
            }
            | State::Cleaning { next: _ }
            | State::Backoff { until: _ }
            | State::Failed
            | State::Gone => Condition::Unwell(told(&self.state())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::definitions::Definition;
    use super::super::fileless::Fileless;
    use super::*;

    const UNIT: &str = "[container]\nimage = \"localhost/web:1\"\n";
    const GATE: &str = "[container]\nimage = \"localhost/web:1\"\n\
        [health]\ntcp = 80\ngate = true\n";

    fn entry(text: &str, state: State) -> Entry {
        let mut entry = Entry::new();
        entry.wanted = Definition::parse(Path::new("web.toml"), text.as_bytes()).ok();
        entry.machine.state = state;
        entry
    }

    #[test]
    fn units_count_that_are_to_run() {
        let part = |entry: &Entry| entry.watched("web").map(|watched| watched.part);
        assert_eq!(part(&entry(UNIT, State::Waiting)), Some(Part::Plain));
        assert_eq!(part(&entry(GATE, State::Waiting)), Some(Part::Gate));
        assert_eq!(
            part(&entry("nonsense", State::Stopped)),
            Some(Part::Unknown)
        );
        let off = format!("[unit]\nenabled = false\n{GATE}");
        assert_eq!(part(&entry(&off, State::Stopped)), None);
        assert_eq!(part(&entry(UNIT, State::Gone)), None);
        let mut gone = entry(GATE, State::Stopped);
        gone.fileless = Some(Fileless::Stopped { again: false });
        assert_eq!(part(&gone), None);
    }

    #[test]
    fn what_has_a_check_has_to_be_healthy() {
        let running = || State::Running { since: 0 };
        let condition = |text: &str, health| {
            let mut entry = entry(text, running());
            entry.health = health;
            entry.condition()
        };
        assert_eq!(condition(UNIT, None), Condition::Well);
        assert_eq!(condition(GATE, Some(HealthState::Healthy)), Condition::Well);
        for health in [
            None,
            Some(HealthState::Starting),
            Some(HealthState::Unhealthy),
        ] {
            let found = condition(GATE, health);
            let ill = health == Some(HealthState::Unhealthy);
            assert_eq!(matches!(found, Condition::Unwell(_)), ill, "{found:?}");
            assert_eq!(matches!(found, Condition::Coming(_)), !ill, "{found:?}");
        }
        let mut alone = entry(UNIT, running());
        alone.trouble = Some("it is on no network".to_owned());
        assert_eq!(
            alone.condition(),
            Condition::Unwell("it is on no network".to_owned())
        );
        let waits = entry(UNIT, State::Waiting).condition();
        assert_eq!(
            waits,
            Condition::Coming("waiting: about to start".to_owned())
        );
    }
}
