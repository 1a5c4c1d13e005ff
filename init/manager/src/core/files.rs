//! Requests that change the lasting unit files, one at a time.
//!
//! The disk may take long over them, and PID 1 kills a manager that is silent
//! for long: they are written in a task. Until it has ended, the directories
//! are not followed, as they may hold one half of what belongs together, and
//! further requests of this kind wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Error;
use std::str::FromStr;

use orlop_control::types::{ApiError, ApplyReport, Change, Diagnostic, UnitChange, UnitFile};
use orlop_unit::UnitName;

use super::apply::{self, Committed};
use super::definitions::{self, Declarations, Declared, Definition};
use super::entry::diagnostic;
use super::owner::{Owner, Report};
use crate::durable::no_room;
use crate::handle::{REQUESTS_MAX, Reply, Request};

/// The most files of one apply.
const APPLY_MAX: usize = 256;

/// What is under way with the lasting unit files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// A task writes to them.
    busy: bool,
    /// Why what was accepted is not all in its place.
    unfinished: Option<String>,
    waiting: VecDeque<Request>,
}

impl Files {
    /// Whether they hold what belongs together, as far as is known.
    pub(super) fn settled(&self) -> bool {
        !self.busy
    }

    /// What an operator is to know.
    pub(super) fn warning(&self) -> Option<String> {
        let error = self.unfinished.as_ref()?;
        Some(format!(
            "not all unit files that were accepted are in force yet: {error}"
        ))
    }

    /// An apply that an earlier manager accepted cannot be finished yet.
    pub(super) fn unfinished(&mut self, error: &Error) {
        tracing::error!("an accepted apply cannot be finished yet: {error}");
        self.unfinished = Some(error.to_string());
    }
}

impl Owner {
    /// The request, unless it has to wait for the unit files.
    pub(super) fn after_files(&mut self, request: Request) -> Option<Request> {
        let changes = matches!(request, Request::Apply(..) | Request::Remove(..));
        if self.files.settled() || !changes {
            return Some(request);
        }
        if self.files.waiting.len() < REQUESTS_MAX {
            self.files.waiting.push_back(request);
            return None;
        }
        let busy = || ApiError::unavailable("too many changes of unit files wait already");
        match request {
            Request::Apply(_, _, reply) => drop(reply.send(Err(busy()))),
            Request::Remove(_, reply) => drop(reply.send(Err(busy()))),
            other => return Some(other),
        }
        None
    }

    /// Checks unit files; then a task puts them into force, and answers.
    pub(super) fn apply(&mut self, files: Vec<UnitFile>, dry_run: bool, reply: Reply<ApplyReport>) {
        let report = match self.check_apply(&files, dry_run) {
            Ok(report) if !dry_run => report,
            checked => return drop(reply.send(checked)),
        };
        self.files.busy = true;
        let (etc, reports) = (self.tools.paths.etc(), self.reports.clone());
        tokio::spawn(async move {
            let work = tokio::task::spawn_blocking(move || apply::commit(&etc, &files));
            let result = work.await.map_err(Error::other).flatten();
            let _ = reports.send(Report::Applied(result, report, reply)).await;
        });
    }

    /// The task that wrote unit files has ended.
    pub(super) fn applied(
        &mut self,
        result: std::io::Result<Committed>,
        mut report: ApplyReport,
        reply: Reply<ApplyReport>,
    ) {
        let answer = match result {
            Ok(Committed::InForce) => Ok(report),
            Ok(Committed::Unfinished(error)) => {
                self.files.unfinished(&error);
                report.warnings.push(Diagnostic {
                    file: self.tools.paths.lasting_units().display().to_string(),
                    line: 0,
                    column: 0,
                    message: format!("the files are accepted, but not all in force yet: {error}"),
                    help: Some("the rest follows by itself once it can".to_owned()),
                });
                Ok(report)
            }
            Err(error) if no_room(&error) => Err(ApiError::no_space(
                "no room for the unit files on the state partition; nothing changed",
            )),
            Err(error) => Err(ApiError::internal(format!(
                "the unit files cannot be kept: {error}"
            ))),
        };
        self.files_written();
        let _ = reply.send(answer);
    }

    /// Tries again to put the rest of what was accepted into force.
    pub(super) fn finish_apply(&mut self) {
        if self.files.busy || self.files.unfinished.is_none() {
            return;
        }
        self.files.busy = true;
        let (etc, reports) = (self.tools.paths.etc(), self.reports.clone());
        tokio::spawn(async move {
            let work = tokio::task::spawn_blocking(move || apply::recover(&etc));
            let result = work.await.map_err(Error::other).flatten();
            let _ = reports.send(Report::Finished(result)).await;
        });
    }

    /// The task that tried has ended.
    pub(super) fn finished_apply(&mut self, result: &std::io::Result<()>) {
        self.files.unfinished = result.as_ref().err().map(Error::to_string);
        self.files_written();
    }

    fn files_written(&mut self) {
        self.files.busy = false;
        self.reload();
        while self.files.settled()
            && let Some(request) = self.files.waiting.pop_front()
        {
            self.answer(request);
        }
    }

    fn check_apply(&self, files: &[UnitFile], dry_run: bool) -> Result<ApplyReport, ApiError> {
        if self.stopping.is_some() {
            return Err(ApiError::unavailable("the host is going down"));
        }
        check_request(files)?;
        let mut report = self.would_be(files)?;
        report.dry_run = dry_run;
        Ok(report)
    }

    /// What these files would change, if they make a good unit set.
    fn would_be(&self, files: &[UnitFile]) -> Result<ApplyReport, ApiError> {
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
            let after = self.checked(declared);
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
        Ok(report)
    }

    fn checked(&self, mut declared: Declarations) -> Declarations {
        let ports = self.host.ports();
        definitions::check(&mut declared, &BTreeMap::new(), BTreeSet::new(), ports);
        declared
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), ApiError> {
        // Else what is accepted already could bring the file back.
        if let Some(warning) = self.files.warning() {
            return Err(ApiError::unavailable(warning));
        }
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
                let what = format!("unit {name:?} cannot be removed: {error}");
                match no_room(&error) {
                    true => ApiError::no_space(what),
                    false => ApiError::internal(what),
                }
            })?;
        self.reload();
        Ok(())
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
