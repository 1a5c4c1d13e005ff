//! How units follow their files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::definitions::{self, Declarations, Declared, Definition};
use super::entry::Entry;
use super::fileless::Fileless;
use super::owner::{Owner, now_ms};
use super::state::Event;
use crate::installs::Before;

impl Owner {
    /// Reads the unit directories again and has the units follow.
    pub(super) fn reload(&mut self) {
        if self.stopping.is_some() || !self.files.settled() {
            return;
        }
        let found = match definitions::read(&self.tools.paths.unit_dirs()) {
            Ok(found) => found,
            Err(error) => return self.unreadable(&error),
        };
        self.unreadable = None;
        self.dir_warnings.clone_from(&found.warnings);
        for name in self.names_where(|name, _| !found.has(name)) {
            self.undeclare(&name);
        }
        for (name, entry) in &mut self.units {
            if found.has(name) && !entry.abandoned() {
                entry.fileless = None;
            }
        }
        let mut declared = found.units;
        self.go_by_those_before(&declared);
        // Those that require a unit keep it for as long as its file may be back.
        let awaited: Vec<String> = self.names_where(|_, entry| entry.awaited());
        for name in &awaited {
            let kept = self.units.get(name).and_then(|entry| entry.wanted.clone());
            declared.extend(kept.map(|kept| (name.clone(), Declared::Good(kept))));
        }
        let kept: BTreeMap<String, Definition> = self
            .units
            .iter()
            .filter_map(|(name, entry)| Some((name.clone(), entry.wanted.clone()?)))
            .collect();
        let running: BTreeSet<_> = self
            .units
            .values()
            .filter(|entry| entry.container.is_some())
            .filter_map(|entry| entry.current.as_ref())
            .map(|definition| definition.unit().name.clone())
            .collect();
        definitions::check(&mut declared, &kept, running, self.host.ports());
        declared.retain(|name, _| !awaited.contains(name));
        for (name, declared) in declared {
            self.declare(&name, declared);
        }
    }

    /// After another version was given up: units whose files this one rejects are
    /// first what they were when it last ran; the files change nothing then, as
    /// any that is rejected.
    fn go_by_those_before(&mut self, declared: &Declarations) {
        let Some(boot) = &self.host.boot else { return };
        let (root, before) = (
            boot.root_hash.clone(),
            Before::new(&self.tools.paths.update()),
        );
        let rejected = |(name, declared): &(&String, &Declared)| {
            matches!(declared, Declared::Bad(..)) && !self.units.contains_key(*name)
        };
        let rejected: Vec<String> = declared
            .iter()
            .filter(rejected)
            .map(|(name, _)| name.clone())
            .collect();
        for name in rejected {
            let kept = before.unit(&root, &name);
            if let Some(kept @ Declared::Good(_)) = kept.map(|path| definitions::declared(&path)) {
                tracing::warn!(
                    "unit {name}: its file is rejected; it is run as it was before the last update"
                );
                self.declare(&name, kept);
            }
        }
    }

    /// What cannot be read may still be there: every unit stays as it is until
    /// the directories can be read again, which is tried at each look.
    fn unreadable(&mut self, error: &std::io::Error) {
        let warning = format!("the unit files cannot be read, all units stay as they are: {error}");
        if self.unreadable.as_ref() != Some(&warning) {
            tracing::error!("{warning}");
            self.unreadable = Some(warning);
        }
    }

    /// The unit has no file: an operator removed it, or it may be back.
    fn undeclare(&mut self, name: &str) {
        let kept = self.wrote(name);
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        if self.removed.has(name) || !kept {
            entry.findings.clear();
            entry.problem = None;
            entry.fileless = None;
            return self.step(name, Event::Remove);
        }
        let wanted = entry.machine.wanted();
        let fileless = Fileless::step(entry.fileless, wanted, now_ms());
        if entry.fileless.replace(fileless) == Some(fileless) {
            return;
        }
        if entry.abandoned() && wanted {
            entry.findings.clear();
            entry.problem = None;
            return self.step(name, Event::Stop);
        }
        self.save(name);
        self.show(name);
    }

    /// Whether there may be something that the unit wrote.
    fn wrote(&self, name: &str) -> bool {
        let ranges = self.tools.ranges.lock();
        let ranges = ranges.unwrap_or_else(PoisonError::into_inner);
        ranges.may_hold(name)
    }

    fn declare(&mut self, name: &str, declared: Declared) {
        let new = !self.units.contains_key(name);
        let entry = self.units.entry(name.to_owned()).or_insert_with(Entry::new);
        let back = entry.fileless.take() == Some(Fileless::Stopped { again: true });
        self.removed.clear(name);
        match declared {
            Declared::Bad(source, findings) => {
                entry.source = source.to_string_lossy().into_owned();
                entry.findings = findings;
                match back && entry.wanted.is_some() {
                    true => self.step(name, Event::Restart),
                    false => self.save(name),
                }
                self.take_back(name);
                self.show(name);
            }
            Declared::Good(definition) => {
                entry.findings.clear();
                entry.source = definition.source.to_string_lossy().into_owned();
                let before = entry.follow(definition.clone());
                let event = match back && definition.unit().enabled {
                    true => Some(Event::Restart),
                    false => change(new, before.as_ref(), &definition),
                };
                match event {
                    Some(event) => self.step(name, event),
                    None => self.save(name),
                }
                self.take_back(name);
                self.rewatch(name, before.as_ref(), &definition);
                // The policy may be another one now.
                self.tend(name);
                self.show(name);
            }
        }
    }

    /// Keeps a unit whose removal is under way, as its file is back.
    fn take_back(&mut self, name: &str) {
        let Some(entry) = self.units.get(name) else {
            return;
        };
        if !entry.machine.leaving() {
            return;
        }
        let wanted = entry.wanted.as_ref();
        let enabled = wanted.is_some_and(|definition| definition.unit().enabled);
        self.step(name, Event::Returned);
        if !enabled {
            self.step(name, Event::Stop);
        }
    }
}

/// What a unit's new definition means to it.
fn change(new: bool, before: Option<&Definition>, after: &Definition) -> Option<Event> {
    let unit = after.unit();
    match before.map(Definition::unit) {
        None if unit.enabled => Some(Event::Start),
        None if new => None,
        None => Some(Event::Stop),
        Some(old) if old.enabled && !unit.enabled => Some(Event::Stop),
        Some(old) if !old.enabled && unit.enabled => Some(Event::Start),
        // How it is watched, restarted and stopped needs no new container.
        Some(old) if old.container != unit.container || old.resources != unit.resources => {
            Some(Event::Changed)
        }
        Some(_) => None,
    }
}
