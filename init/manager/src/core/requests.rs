//! What the interfaces ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use orlop_control::types::{ApiError, Desired, LastExit, UnitCounts, UnitState, UnitStatus};

use super::entry::{Entry, diagnostic, last_exit};
use super::owner::{Owner, now_ms};
use super::state::{Event, State};
use crate::exec::ExecTarget;
use crate::handle::Request;
use crate::logs::LogSource;

impl Owner {
    /// Answers one request. A caller that went away is no error.
    pub(super) fn answer(&mut self, request: Request) {
        let Some(request) = self.after_files(request) else {
            return;
        };
        match request {
            Request::Units(reply) => {
                let names: Vec<String> = self.units.keys().cloned().collect();
                let all = names.iter().map(|name| self.status_of(name)).collect();
                let _ = reply.send(all);
            }
            Request::Unit(name, reply) => {
                let _ = reply.send(self.status_of(&name));
            }
            Request::SetDesired(name, desired, reply) => {
                let _ = reply.send(self.set_desired(&name, desired));
            }
            Request::Restart(name, reply) => {
                let _ = reply.send(self.restart(&name));
            }
            Request::Apply(files, dry_run, reply) => self.apply(files, dry_run, reply),
            Request::Remove(name, reply) => {
                let _ = reply.send(self.remove(&name));
            }
            Request::Status(reply) => {
                let mut status = self.host.status(self.tools.network.as_deref());
                status.units = self.counts();
                self.warn(&mut status.warnings);
                let _ = reply.send(Ok(status));
            }
            Request::Versions(reply) => {
                let _ = reply.send(self.host.trial.versions());
            }
            Request::Watched(reply) => self.tell_watched(reply),
            Request::Images(reply) => {
                let _ = reply.send(self.images());
            }
            Request::LoadImage(archive, reply) => self.load_image(archive, reply),
            Request::Logs(name, reply) => {
                let source = self.units.get(&name).map(|entry| LogSource {
                    dir: self.tools.paths.logs(&name),
                    grown: entry.grown.subscribe(),
                });
                let _ = reply.send(source.ok_or_else(|| ApiError::unit_not_found(&name)));
            }
            Request::Exec(name, reply) => {
                let _ = reply.send(self.exec_target(&name));
            }
            Request::Exits(name, reply) => {
                let _ = reply.send(self.exits(&name));
            }
            Request::Shutdown(mode, reply) => self.shutdown(mode, reply),
        }
    }

    fn status_of(&self, name: &str) -> Result<UnitStatus, ApiError> {
        let entry = self.units.get(name);
        let entry = entry.ok_or_else(|| ApiError::unit_not_found(name))?;
        let mut status = entry.status(name, now_ms());
        let waits = entry.machine.state == State::Waiting;
        if waits && self.stopping.is_none() && entry.blockers.is_empty() {
            status.state = UnitState::Starting;
        }
        Ok(status)
    }

    fn usable(&self, name: &str) -> Result<(), ApiError> {
        let entry = self.units.get(name);
        let entry = entry.ok_or_else(|| ApiError::unit_not_found(name))?;
        if self.stopping.is_some() {
            return Err(ApiError::unavailable("the host is going down"));
        }
        entry.usable(name)
    }

    fn set_desired(&mut self, name: &str, desired: Desired) -> Result<UnitStatus, ApiError> {
        self.usable(name)?;
        match desired {
            Desired::Started => {
                let all = self.with_requirements(name);
                for name in &all {
                    let entry = self.units.get(name);
                    if entry.is_some_and(|e| !e.machine.wanted() && !e.abandoned()) {
                        self.step(name, Event::Start);
                    }
                }
                // A pause that is under way ends when someone asks.
                if let Some(State::Backoff { until: _ }) =
                    self.units.get(name).map(|entry| &entry.machine.state)
                {
                    self.step(name, Event::Start);
                }
                all.iter().try_for_each(|name| self.on_record(name))?;
            }
            Desired::Stopped => {
                self.step(name, Event::Stop);
                self.on_record(name)?;
            }
        }
        self.status_of(name)
    }

    /// Refuses to acknowledge what another manager would not know of.
    fn on_record(&self, name: &str) -> Result<(), ApiError> {
        let Some(why) = self.unsaved(name) else {
            return Ok(());
        };
        Err(ApiError::new(
            500,
            "notOnRecord",
            format!("unit {name:?} was asked, but may forget it: {why}"),
        )
        .with_help("ask again once `orlop status` does not warn of it any more"))
    }

    /// The unit and all that it requires, also indirectly.
    fn with_requirements(&self, name: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            let definition = self.units.get(&name).and_then(|e| e.wanted.as_ref());
            let requires = definition.map(|d| d.unit().requires.clone());
            if all.insert(name) {
                let requires = requires.into_iter().flatten();
                open.extend(requires.map(|name| name.as_str().to_owned()));
            }
        }
        all
    }

    fn restart(&mut self, name: &str) -> Result<UnitStatus, ApiError> {
        self.usable(name)?;
        self.step(name, Event::Restart);
        self.on_record(name)?;
        self.status_of(name)
    }

    fn counts(&self) -> UnitCounts {
        let mut counts = UnitCounts::default();
        for entry in self.units.values() {
            counts.total += 1;
            let unwell = entry.health == Some(orlop_control::types::HealthState::Unhealthy);
            match entry.state() {
                UnitState::Running => {
                    counts.running += 1;
                    counts.unhealthy += u32::from(unwell);
                }
                UnitState::Waiting
                | UnitState::Starting
                | UnitState::Stopping
                | UnitState::Backoff => counts.changing += 1,
                UnitState::Failed => counts.failed += 1,
                UnitState::Rejected => counts.rejected += 1,
                UnitState::Stopped | UnitState::Exited => counts.stopped += 1,
            }
        }
        counts
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        warnings.extend(self.unreadable.clone());
        warnings.extend(self.dir_warnings.iter().cloned());
        warnings.extend(self.files.warning());
        warnings.extend(self.unrecorded.warning());
        warnings.extend(unsaved_warning(&self.units));
        let ranges = self.tools.ranges.lock();
        let ranges = ranges.unwrap_or_else(PoisonError::into_inner);
        warnings.extend(ranges.problem().map(str::to_owned));
        for (name, entry) in &self.units {
            warnings.extend(super::exits::damaged(&self.tools.paths.exits(), name));
            let dropped = *entry.dropped.borrow();
            if dropped > 0 {
                warnings.push(format!(
                    "{dropped} bytes of {name}'s output were dropped: no space for its log"
                ));
            }
            if let Some(why) = &entry.uncollected {
                warnings.push(format!("{name}'s output is not collected: {why}"));
            }
            if !entry.findings.is_empty() && entry.wanted.is_some() {
                warnings.push(format!(
                    "{name}'s file is rejected; its last good version goes on running"
                ));
            }
        }
    }

    fn exec_target(&self, name: &str) -> Result<ExecTarget, ApiError> {
        let entry = self.units.get(name);
        let entry = entry.ok_or_else(|| ApiError::unit_not_found(name))?;
        match (&entry.machine.state, &entry.container) {
            (State::Running { since: _ }, Some(container)) => {
                let (runtime, runtime_root) = self.tools.runtime.parts();
                Ok(ExecTarget {
                    runtime,
                    runtime_root,
                    container_id: container.id.clone(),
                    rootfs: self.tools.paths.container(&container.id).join("rootfs"),
                    scratch: self.tools.paths.scratch(),
                })
            }
            (_, _) => {
                let state = entry.state();
                let why = entry.reason().unwrap_or_default();
                Err(ApiError::conflict(format!(
                    "unit {name:?} is {state}, not running: {why}"
                )))
            }
        }
    }

    fn exits(&self, name: &str) -> Result<Vec<LastExit>, ApiError> {
        if !self.units.contains_key(name) {
            return Err(ApiError::unit_not_found(name));
        }
        let exits = super::exits::load(&self.tools.paths.exits(), name)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(exits.iter().map(last_exit).collect())
    }
}

impl Entry {
    /// Whether it can be told to run or not to.
    fn usable(&self, name: &str) -> Result<(), ApiError> {
        if self.machine.leaving() || self.machine.state == State::Gone {
            let leaving = ApiError::conflict(format!("unit {name:?} is being removed"));
            return Err(leaving.with_help("apply it again to keep it"));
        }
        if self.abandoned() {
            let gone = ApiError::conflict(format!("the file of unit {name:?} is gone"));
            return Err(gone.with_help("apply it again; or delete what it wrote with `orlop rm`"));
        }
        if self.wanted.is_none() {
            let mut error = ApiError::conflict(format!("unit {name:?} has no good file"));
            error.diagnostics = self.findings.iter().map(diagnostic).collect();
            return Err(error.with_help("mend its file and apply it"));
        }
        Ok(())
    }
}

/// What an operator is to know of units whose record is not that of their state.
fn unsaved_warning(units: &BTreeMap<String, Entry>) -> Option<String> {
    let unsaved = |entry: &Entry| entry.unsaved.clone();
    let why = units.values().find_map(unsaved)?;
    let names = units.iter().filter(|(_, entry)| entry.unsaved.is_some());
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    Some(format!(
        "what was last asked of {names} cannot be put on record, and is forgotten if the manager \
         ends: {why}; it is tried again"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::definitions::Definition;
    use super::super::state::Next;
    use super::*;

    #[test]
    fn what_is_being_removed_is_not_told_to_start() {
        let mut entry = Entry::new();
        let text = b"[container]\nimage = \"localhost/web:1\"\n";
        entry.wanted = Definition::parse(Path::new("web.toml"), text).ok();
        let stopping = |next| State::Stopping {
            kill_at: None,
            next,
        };
        for (state, usable) in [
            (State::Stopped, true),
            (stopping(Next::Stop), true),
            (stopping(Next::Remove), false),
            (State::Gone, false),
        ] {
            entry.machine.state = state;
            assert_eq!(entry.usable("web").is_ok(), usable, "{:?}", entry.machine);
        }
    }
}
