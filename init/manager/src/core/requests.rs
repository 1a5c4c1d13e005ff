//! What the interfaces ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use orlop_control::types::{
    ApiError, ApplyReport, Change, Desired, EventKind, LastExit, ShutdownMode, UnitChange,
    UnitCounts, UnitFile, UnitState, UnitStatus,
};
use orlop_handover::ToInit;
use orlop_unit::UnitName;

use super::definitions::{self, Declarations, Declared, Definition};
use super::entry::{diagnostic, last_exit};
use super::owner::{Owner, now_ms};
use super::state::{Event, State};
use crate::exec::ExecTarget;
use crate::handle::Request;
use crate::logs::LogSource;

/// The most files of one apply.
const APPLY_MAX: usize = 256;

impl Owner {
    /// Answers one request. A caller that went away is no error.
    pub(super) fn answer(&mut self, request: Request) {
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
            Request::Apply(files, dry_run, reply) => {
                let _ = reply.send(self.apply(&files, dry_run));
            }
            Request::Remove(name, reply) => {
                let _ = reply.send(self.remove(&name));
            }
            Request::Status(reply) => {
                let mut status = self.host.status(self.tools.network.as_deref());
                status.units = self.counts();
                self.warn(&mut status.warnings);
                let _ = reply.send(Ok(status));
            }
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
            Request::Shutdown(mode, reply) => {
                self.shutdown(mode);
                let _ = reply.send(Ok(()));
            }
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
        if entry.abandoned() {
            let gone = ApiError::conflict(format!("the file of unit {name:?} is gone"));
            return Err(gone.with_help("apply it again; or delete what it wrote with `orlop rm`"));
        }
        if entry.wanted.is_none() {
            let mut error = ApiError::conflict(format!("unit {name:?} has no good file"));
            error.diagnostics = entry.findings.iter().map(diagnostic).collect();
            return Err(error.with_help("mend its file and apply it"));
        }
        Ok(())
    }

    fn set_desired(&mut self, name: &str, desired: Desired) -> Result<UnitStatus, ApiError> {
        self.usable(name)?;
        match desired {
            Desired::Started => {
                for name in self.with_requirements(name) {
                    let entry = self.units.get(&name);
                    if entry.is_some_and(|e| !e.machine.wanted() && !e.abandoned()) {
                        self.step(&name, Event::Start);
                    }
                }
                // A pause that is under way ends when someone asks.
                if let Some(State::Backoff { until: _ }) =
                    self.units.get(name).map(|entry| &entry.machine.state)
                {
                    self.step(name, Event::Start);
                }
            }
            Desired::Stopped => self.step(name, Event::Stop),
        }
        self.status_of(name)
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
        self.status_of(name)
    }

    fn apply(&mut self, files: &[UnitFile], dry_run: bool) -> Result<ApplyReport, ApiError> {
        if self.stopping.is_some() {
            return Err(ApiError::unavailable("the host is going down"));
        }
        check_request(files)?;
        let (mut report, declarations) = self.would_be(files)?;
        drop(declarations);
        report.dry_run = dry_run;
        if dry_run {
            return Ok(report);
        }
        super::apply::commit(&self.tools.paths.etc(), files).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    ApiError::no_space("no space for the unit files; nothing changed")
                }
                _ => ApiError::internal(format!("the unit files cannot be kept: {error}")),
            }
        })?;
        self.reload();
        Ok(report)
    }

    /// What the unit set would be with these files, if that is a good one.
    fn would_be(&self, files: &[UnitFile]) -> Result<(ApplyReport, Declarations), ApiError> {
        let paths = &self.tools.paths;
        let found = definitions::read(&paths.unit_dirs()).map_err(|error| {
            ApiError::internal(format!("the unit files cannot be read: {error}"))
        })?;
        let mut declared = found.units;
        let before = self.checked(declared.clone());
        let mut report = ApplyReport::default();
        let mut findings = Vec::new();
        for file in files {
            let source = paths.lasting_units().join(format!("{}.toml", file.name));
            let passing = paths.passing_units().join(format!("{}.toml", file.name));
            if passing.symlink_metadata().is_ok() {
                return Err(ApiError::conflict(format!(
                    "{} hides what would be applied",
                    passing.display()
                ))
                .with_help("it lasts until the next boot; remove it first with `orlop rm`"));
            }
            let change = match declared.get(&file.name) {
                None => Change::Added,
                Some(Declared::Good(old)) if *old.text == *file.content => Change::Unchanged,
                Some(Declared::Good(_) | Declared::Bad(_, _)) => Change::Changed,
            };
            report.units.push(UnitChange {
                name: file.name.clone(),
                change,
            });
            match Definition::parse(&source, file.content.as_bytes()) {
                Ok(definition) => {
                    declared.insert(file.name.clone(), Declared::Good(definition));
                }
                Err(problems) => findings.extend(problems),
            }
        }
        if findings.is_empty() {
            let after = self.checked(declared.clone());
            findings = new_problems(files, &before, &after);
        }
        if !findings.is_empty() {
            let mut shown: Vec<_> = findings.iter().map(diagnostic).collect();
            // The sender knows its files by their names.
            let dir = format!("{}/", paths.lasting_units().display());
            for finding in &mut shown {
                if let Some(name) = finding.file.strip_prefix(&dir) {
                    finding.file = name.to_owned();
                }
            }
            return Err(ApiError::rejected(shown));
        }
        Ok((report, declared))
    }

    fn checked(&self, mut declared: Declarations) -> Declarations {
        let ports = self.host.ports();
        definitions::check(&mut declared, &BTreeMap::new(), BTreeSet::new(), ports);
        declared
    }

    fn remove(&mut self, name: &str) -> Result<(), ApiError> {
        let paths = &self.tools.paths;
        let file = format!("{name}.toml");
        let valid = UnitName::from_str(name).is_ok() || self.units.contains_key(name);
        let places = [paths.passing_units(), paths.lasting_units()];
        let place = places
            .iter()
            .map(|dir| dir.join(&file))
            .find(|path| valid && path.symlink_metadata().is_ok());
        let known = self.units.get(name);
        let fileless = known.is_some_and(|entry| entry.fileless.is_some());
        if place.is_none() && !fileless {
            return Err(match known {
                Some(_) => ApiError::conflict(format!("unit {name:?} is part of the host image"))
                    .with_help(
                        "stop it with `orlop stop`, or apply a file of that name with \
                         `enabled = false`",
                    ),
                None => ApiError::unit_not_found(name),
            });
        }
        self.removed
            .mark(name)
            .and_then(|()| place.as_deref().map_or(Ok(()), super::apply::remove))
            .map_err(|error| {
                self.removed.clear(name);
                ApiError::internal(format!("unit {name:?} cannot be removed: {error}"))
            })?;
        self.reload();
        Ok(())
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
        warnings.extend(self.unrecorded.warning());
        for (name, entry) in &self.units {
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

    fn shutdown(&mut self, mode: ShutdownMode) {
        self.tell(EventKind::Shutdown { mode });
        let mode = match mode {
            ShutdownMode::Reboot => orlop_handover::ShutdownMode::Reboot,
            ShutdownMode::PowerOff => orlop_handover::ShutdownMode::PowerOff,
        };
        self.init.say(ToInit::Shutdown { mode }, Vec::new());
    }
}

fn check_request(files: &[UnitFile]) -> Result<(), ApiError> {
    if files.is_empty() {
        return Err(ApiError::invalid("no unit files given"));
    }
    if files.len() > APPLY_MAX {
        return Err(ApiError::invalid(format!(
            "{} unit files in one request; the limit is {APPLY_MAX}",
            files.len()
        )));
    }
    let mut names = BTreeSet::new();
    for file in files {
        if let Err(expected) = UnitName::from_str(&file.name) {
            return Err(ApiError::invalid(format!(
                "{:?} cannot name a unit: {expected}",
                file.name
            )));
        }
        if !names.insert(&file.name) {
            return Err(ApiError::invalid(format!("{:?} is given twice", file.name)));
        }
    }
    Ok(())
}

/// What is wrong with the applied units, and with units that were well before.
fn new_problems(
    files: &[UnitFile],
    before: &Declarations,
    after: &Declarations,
) -> Vec<orlop_unit::Diagnostic> {
    let applied = |name: &str| files.iter().any(|file| file.name == name);
    let was_bad = |name: &str| matches!(before.get(name), Some(Declared::Bad(_, _)));
    let mut findings = Vec::new();
    for (name, declared) in after {
        if let Declared::Bad(_, problems) = declared
            && (applied(name) || !was_bad(name))
        {
            findings.extend(problems.iter().cloned());
        }
    }
    findings
}
