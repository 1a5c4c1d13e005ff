//! Starting, which is recovering: from the records, from PID 1, and from what
//! the runtime knows, to where things stood.

use std::sync::PoisonError;
use std::time::Duration;

use orlop_handover::ToInit;

use super::entry::Entry;
use super::exits::{self, Recorded};
use super::fileless::Fileless;
use super::owner::{Owner, Report};
use super::past::Past;
use super::state::{Event, Next, State};
use super::verdict::{Seen, Verdict, judge};
use crate::container::runtime::{Found, start_time};

/// After so many looks at which a container's process was not there, its end
/// is taken to have gone unseen.
const MISSING_MAX: u32 = 3;
/// The pause before a container is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Owner {
    /// Picks up where the manager before left off, or begins.
    pub(super) fn recover(&mut self, past: Past) {
        self.stopping = past.stopping;
        self.units = past.units;
        self.unrecorded = past.unrecorded;
        if let Err(error) = super::apply::recover(&self.tools.paths.etc()) {
            self.files.unfinished(&error);
        }
        for (name, entry) in &mut self.units {
            let exits = exits::load(&self.tools.paths.exits(), name).unwrap_or_default();
            let newer = self.unrecorded.of(name).pop();
            entry.last_exit = newer.or_else(|| exits.last().cloned());
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
        for key in past.kept.into_keys() {
            self.init.say(ToInit::Forget { key }, Vec::new());
        }
        self.forget_strangers();
        // One that was acknowledged just before the end of the manager before is
        // not told again, but its unit does not know of it.
        let boot = &self.host.boot_id;
        let on_record = self.units.values().filter_map(|entry| entry.ended(boot));
        let on_record: Vec<Recorded> = on_record.cloned().collect();
        for exit in past.exits.into_iter().chain(on_record) {
            self.exited(exit);
        }
        // The first to ask: nothing else of this manager has yet.
        if let Some(turn) = self.tools.images.turn_now() {
            self.sweep_images(turn);
        }
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
        let pause = if entry.looks > 0 {
            LOOK_AGAIN
        } else {
            Duration::ZERO
        };
        let (unit, id) = (name.to_owned(), container.id.clone());
        let (tools, reports) = (self.tools.clone(), self.reports.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let found = tools.look(&id).await.map_err(|error| error.to_string());
            let _ = reports.send(Report::Looked(unit, id, found)).await;
        });
    }

    /// Goes on from what the runtime knows of a container.
    pub(super) fn looked(&mut self, name: &str, found: Result<Option<Found>, String>) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let Some(container) = entry.container.as_ref() else {
            return;
        };
        let seen = match &found {
            Ok(Some(found)) => Seen::Status(&found.status),
            Ok(None) => Seen::Nothing,
            Err(error) => {
                tracing::warn!("{name}'s container cannot be looked at: {error}");
                entry.looks += 1;
                Seen::Failed(entry.looks)
            }
        };
        match judge(&entry.machine.state, container.phase, seen) {
            Verdict::Leave => {}
            Verdict::Again => {
                if let State::Starting { then } = &mut entry.machine.state {
                    then.get_or_insert(Next::Again);
                }
                self.start_failed(name, "its making was interrupted");
            }
            Verdict::LetGo(pid) => self.go_on(name, pid),
            Verdict::Started => {
                self.adopt(name);
                self.started(name, Ok(()));
            }
            Verdict::Running => {
                self.adopt(name);
                self.watch(name);
            }
            Verdict::Stop { kill } => {
                self.adopt(name);
                if kill {
                    self.kill(name);
                } else {
                    self.terminate(name);
                }
            }
            Verdict::Look => self.investigate(name),
            Verdict::GiveUp => {
                let error = found.err().unwrap_or_default();
                self.start_failed(name, &format!("what became of it cannot be told: {error}"));
            }
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
        let pause = if entry.trouble.is_some() {
            LOOK_AGAIN
        } else {
            Duration::ZERO
        };
        let process = entry.container.as_ref().and_then(|c| c.phase.process());
        if let (Some((pid, _)), Some(definition)) = (process, entry.effective()) {
            let (tools, unit) = (self.tools.clone(), definition.parsed.clone());
            let id = entry.container.as_ref().map(|c| c.id.clone());
            let (name, id) = (name.to_owned(), id.unwrap_or_default());
            let reports = self.reports.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let result = tools.adopt(&unit.value, pid).await;
                let result = result.map_err(|error| error.to_string());
                let _ = reports.send(Report::Adopted(name, id, result)).await;
            });
        }
    }

    /// A running container is connected; or is not, which is tried again.
    pub(super) fn adopted(&mut self, name: &str, id: &str, result: Result<(), String>) {
        let running = |entry: &Entry| matches!(entry.machine.state, State::Running { since: _ });
        if !self.is_current(name, id) || !self.units.get(name).is_some_and(running) {
            return;
        }
        let trouble = result
            .err()
            .map(|error| format!("it may not be reachable: {error}"));
        let failed = trouble.is_some();
        if let Some(entry) = self.units.get_mut(name)
            && entry.trouble != trouble
        {
            if let Some(trouble) = &trouble {
                tracing::warn!("{name}: {trouble}");
            }
            entry.trouble = trouble;
        }
        self.show(name);
        if failed {
            self.adopt(name);
        }
    }

    /// The slow look: exits and units that could not be recorded, output that
    /// nobody collects, kills that did not come through, processes that are not
    /// there, unit files that could not be read.
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
        for name in self.names_where(|_, entry| entry.unsaved.is_some()) {
            self.save(&name);
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
