//! Starting, which is recovering: from the records, from PID 1, and from what
//! the runtime knows, to where things stood.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use orlop_handover::ToInit;

use super::entry::Entry;
use super::exits::{self, Recorded};
use super::fileless::Fileless;
use super::owner::{Owner, Report};
use super::past::Past;
use super::record::Phase;
use super::state::{Event, Next, State};
use crate::container::runtime::{Found, start_time};

/// After so many looks at which a container's process was not there, its end
/// is taken to have gone unseen.
const MISSING_MAX: u32 = 3;

impl Owner {
    /// Picks up where the manager before left off, or begins.
    pub(super) fn recover(&mut self, past: Past) {
        self.stopping = past.stopping;
        self.units = past.units;
        if let Err(error) = super::apply::recover(&self.tools.paths.etc()) {
            self.files.unfinished(&error);
        }
        for (name, entry) in &mut self.units {
            let exits = exits::load(&self.tools.paths.exits(), name).unwrap_or_default();
            entry.last_exit = exits.last().cloned();
        }
        self.find_abandoned();
        self.reload();
        let left = self.names_where(|_, entry| entry.container.is_some());
        for name in left {
            self.investigate(&name);
        }
        let gone = self.names_where(|_, entry| entry.machine.state == State::Gone);
        for name in gone {
            self.forget(&name);
        }
        self.forget_strangers(past.kept);
        // One that was acknowledged just before the end of the manager before is
        // not told again, but its unit does not know of it.
        let boot = &self.host.boot_id;
        let on_record = self.units.values().filter_map(|entry| entry.ended(boot));
        let on_record: Vec<Recorded> = on_record.cloned().collect();
        for exit in past.exits.into_iter().chain(on_record) {
            self.exited(exit);
        }
        self.collect_images();
        self.init.say(ToInit::Running, Vec::new());
    }

    /// After a boot nothing is on record, but what units wrote is there.
    fn find_abandoned(&mut self) {
        let ranges = self.tools.ranges.lock();
        let ranges = ranges.unwrap_or_else(PoisonError::into_inner);
        for name in ranges.units() {
            let abandoned = || {
                let mut entry = Entry::new();
                entry.fileless = Some(Fileless::Stopped { again: true });
                entry
            };
            let unit = self.units.entry(name.to_owned());
            unit.or_insert_with(abandoned);
        }
    }

    /// Finds out what became of a container.
    fn investigate(&mut self, name: &str) {
        let Some(entry) = self.units.get(name) else {
            return;
        };
        if let State::Cleaning { next: _ } = entry.machine.state {
            return self.clean(name);
        }
        let Some(container) = &entry.container else {
            return;
        };
        let (unit, id) = (name.to_owned(), container.id.clone());
        let (tools, reports) = (self.tools.clone(), self.reports.clone());
        tokio::spawn(async move {
            let found = tools.look(&id).await.map_err(|error| error.to_string());
            let _ = reports.send(Report::Looked(unit, id, found)).await;
        });
    }

    /// Goes on from what the runtime knows of a container.
    pub(super) fn looked(&mut self, name: &str, found: Result<Option<Found>, String>) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let found = found.unwrap_or_else(|error| {
            tracing::warn!("{name}: {error}");
            None
        });
        let status = found.as_ref().map(|found| found.status.as_str());
        let Some(container) = entry.container.as_ref() else {
            return;
        };
        match (&mut entry.machine.state, container.phase, status) {
            // Nothing of the image has run: begin again, at once.
            (State::Starting { then }, Phase::Creating, _) => {
                then.get_or_insert(Next::Again);
                self.start_failed(name, "its making was interrupted");
            }
            (
                State::Starting { then: _ },
                Phase::Starting { pid, start_time: _ },
                Some("created"),
            ) => self.go_on(name, pid),
            // It was let go: whether it runs or has ended, it has started.
            (State::Starting { then: _ }, _, _) => {
                self.adopt(name);
                self.started(name, Ok(()));
            }
            (State::Running { since: _ }, _, _) => {
                self.adopt(name);
                self.watch(name);
            }
            (State::Stopping { kill_at, next: _ }, _, _) => {
                let killed = kill_at.is_none();
                self.adopt(name);
                if killed {
                    self.kill(name);
                } else {
                    self.terminate(name);
                }
            }
            (
                State::Stopped
                | State::Waiting
                | State::Cleaning { next: _ }
                | State::Backoff { until: _ }
                | State::Exited(_)
                | State::Failed
                | State::Gone,
                _,
                _,
            ) => {}
        }
    }

    /// Lets a container go that an earlier manager had made.
    fn go_on(&self, name: &str, pid: i32) {
        let Some(entry) = self.units.get(name) else {
            return;
        };
        let (Some(container), Some(definition)) = (&entry.container, entry.effective()) else {
            return;
        };
        let (tools, reports) = (self.tools.clone(), self.reports.clone());
        let (unit, id) = (definition.parsed.clone(), container.id.clone());
        let name = name.to_owned();
        tokio::spawn(async move {
            let result = tools.resume(&unit.value, &id, pid).await;
            let result = result.map_err(|error| error.to_string());
            let _ = reports.send(Report::Started(name, id, result)).await;
        });
    }

    /// Makes sure that a running container is connected.
    fn adopt(&mut self, name: &str) {
        let address = self.address(name);
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        entry.address = address;
        let process = entry.container.as_ref().and_then(|c| c.phase.process());
        if let (Some((pid, _)), Some(definition)) = (process, entry.effective()) {
            let (tools, unit) = (self.tools.clone(), definition.parsed.clone());
            let name = name.to_owned();
            tokio::spawn(async move {
                if let Err(error) = tools.adopt(&unit.value, pid).await {
                    tracing::warn!("{name} may not be reachable: {error}");
                }
            });
        }
    }

    /// Containers that no record speaks of are taken away.
    fn forget_strangers(&mut self, kept: HashMap<String, Vec<OwnedFd>>) {
        let known: Vec<&str> = self
            .units
            .values()
            .filter_map(|entry| entry.container.as_ref())
            .map(|container| container.id.as_str())
            .collect();
        let entries = std::fs::read_dir(self.tools.paths.containers());
        let strangers: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| !known.contains(&id.as_str()))
            .collect();
        for key in kept.into_keys() {
            self.init.say(ToInit::Forget { key }, Vec::new());
        }
        for id in strangers {
            let tools = self.tools.clone();
            tokio::spawn(async move {
                // No unit's network is touched: a unit may run meanwhile.
                if let Err(error) = tools.clean_stranger(&id).await {
                    tracing::warn!("{id}, of which nothing is known, stays: {error}");
                }
            });
        }
    }

    /// The slow look: exits that could not be recorded, output that nobody
    /// collects, kills that did not come through, processes that are not there,
    /// unit files that could not be read.
    pub(super) fn look_around(&mut self) {
        self.sort_unclaimed();
        if self.unreadable.is_some() {
            self.reload();
        }
        self.finish_apply();
        for (name, entry) in &mut self.units {
            if entry.lacks_collector() {
                // From the FIFOs: PID 1 keeps them open.
                entry.resume_collecting(&self.tools.paths, name, None);
            }
        }
        for name in self.names_where(|_, entry| entry.container.is_some()) {
            self.look_at(&name);
        }
    }

    fn look_at(&mut self, name: &str) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let process = entry.container.as_ref().and_then(|c| c.phase.process());
        let Some((pid, started)) = process else {
            return;
        };
        let lives = match &entry.machine.state {
            State::Running { since: _ } => true,
            State::Stopping { kill_at, next: _ } => {
                if kill_at.is_none() {
                    self.kill(name);
                }
                true
            }
            State::Stopped
            | State::Waiting
            | State::Starting { then: _ }
            | State::Cleaning { next: _ }
            | State::Backoff { until: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => false,
        };
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        if !lives || start_time(pid) == Some(started) {
            entry.missing = 0;
            return;
        }
        entry.missing += 1;
        if entry.missing >= MISSING_MAX {
            tracing::error!("the end of {name}'s container was not reported");
            let unseen = super::state::Exit {
                code: None,
                signal: None,
            };
            self.step(name, Event::Exited(unseen));
        }
    }
}
