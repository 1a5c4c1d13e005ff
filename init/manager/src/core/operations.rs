//! The long work: started here, done in tasks of its own, reported back.

use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use orlop_control::types::{EventKind, HealthState};
use orlop_handover::ToInit;
use orlop_unit::{Signal, Unit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::definitions::Definition;
use super::owner::{Keeping, Owner, Report};
use super::record::{self, Container, Phase};
use super::state::{Event, State};
use crate::container::{Tools, id, stdio};

/// How long PID 1 may take to say that it keeps a container's output.
const KEEP_TIMEOUT: Duration = Duration::from_secs(30);

impl Owner {
    /// Begins to make a unit's container.
    pub(super) fn create(&mut self, name: &str) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let Some(definition) = entry.wanted.clone() else {
            return self.start_failed(name, "it has no good unit file");
        };
        let container = Container {
            id: id::new(name),
            phase: Phase::Creating,
            stop_signal: None,
            image_id: String::new(),
        };
        let container_id = container.id.clone();
        entry.current = Some(definition.clone());
        entry.container = Some(container);
        entry.health = None;
        entry.early_exit = None;
        entry.killing = None;
        entry.trouble = None;
        entry.missing = 0;
        // On record before anything of it exists.
        self.save(name);
        if let Some(why) = self.unsaved(name) {
            if let Some(entry) = self.units.get_mut(name) {
                entry.container = None;
            }
            return self.start_failed(name, &why);
        }
        let unit = Arc::new(definition.unit().clone());
        let start = start(
            self.tools.clone(),
            unit,
            container_id.clone(),
            self.reports.clone(),
        );
        let (reports, name) = (self.reports.clone(), name.to_owned());
        tokio::spawn(async move {
            let result = start.await;
            let report = Report::Started(name, container_id, result);
            let _ = reports.send(report).await;
        });
    }

    pub(super) fn start_failed(&mut self, name: &str, why: &str) {
        if let Some(entry) = self.units.get_mut(name) {
            entry.problem = Some(why.to_owned());
        }
        self.step(name, Event::StartFailed);
    }

    pub(super) fn is_current(&self, name: &str, id: &str) -> bool {
        let container = self.units.get(name).and_then(|e| e.container.as_ref());
        container.is_some_and(|container| container.id == id)
    }

    /// Takes what an operation reports.
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::BeganAnew { unit, image } => {
                self.tell(EventKind::UnitBeganAnew { unit, image })
            }
            Report::Output(unit, id, fifos, reply) => self.keep(unit, id, fifos, reply),
            Report::Created {
                unit,
                id,
                process: (pid, start_time),
                stop_signal,
                image_id,
                go,
            } => {
                if self.is_current(&unit, &id)
                    && let Some(container) =
                        self.units.get_mut(&unit).and_then(|e| e.container.as_mut())
                {
                    container.phase = Phase::Starting { pid, start_time };
                    container.stop_signal = stop_signal;
                    container.image_id = image_id;
                    // It may run once its process is on record: only then is
                    // its exit known for this unit's, whoever manages it then.
                    self.save(&unit);
                    let _ = go.send(self.unsaved(&unit).map_or(Ok(()), Err));
                }
                self.sort_unclaimed();
            }
            Report::Started(unit, id, result) => {
                if self.is_current(&unit, &id) {
                    self.started(&unit, result);
                }
                self.sort_unclaimed();
            }
            Report::Looked(unit, id, found) => {
                if self.is_current(&unit, &id) {
                    self.looked(&unit, found);
                }
                self.sort_unclaimed();
            }
            Report::Adopted(unit, id, result) => self.adopted(&unit, &id, result),
            Report::Cleaned(unit, id, result) => self.cleaned(&unit, &id, result),
            Report::SentAway(id, result) => self.sent_away(id, result),
            Report::Forgotten(unit, result) => self.forgotten(&unit, result),
            Report::Health(unit, id, health, said) => self.health(&unit, &id, health, said),
            Report::Applied(result, report, reply) => self.applied(result, report, reply),
            Report::Finished(result) => self.finished_apply(&result),
            Report::Loaded(references, turn) => self.loaded(references, turn),
            Report::Warning(warning) => self.host.warnings.push(warning),
        }
    }

    /// Has PID 1 keep a container's output, so that it outlives this manager.
    fn keep(
        &mut self,
        unit: String,
        id: String,
        fifos: [OwnedFd; 2],
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        let copies: std::io::Result<Vec<OwnedFd>> = fifos.iter().map(OwnedFd::try_clone).collect();
        match copies {
            Ok(copies) => {
                let names = stdio::NAMES.map(str::to_owned).to_vec();
                let key = id.clone();
                self.init.say(ToInit::Keep { key, names }, copies);
                let keeping = Keeping { unit, fifos, reply };
                self.keeping.insert(id, keeping);
            }
            Err(error) => {
                let _ = reply.send(Err(error.to_string()));
            }
        }
    }

    /// PID 1's answer: only now may the container write.
    pub(super) fn kept_answer(&mut self, id: &str, result: Result<(), String>) {
        let Some(Keeping { unit, fifos, reply }) = self.keeping.remove(id) else {
            return;
        };
        // Too late for its start, which has failed by now.
        if reply.is_closed() {
            return;
        }
        let result = result
            .map_err(|reason| format!("PID 1 does not keep the container's output: {reason}"))
            .and_then(|()| {
                let dir = self.tools.paths.logs(&unit);
                let entry = self.units.get_mut(&unit).ok_or("the unit is gone")?;
                entry.collect(&dir, fifos, true)
            });
        let _ = reply.send(result);
    }

    /// A start came to an end: the container runs, or what there is of it goes.
    pub(super) fn started(&mut self, name: &str, result: Result<(), String>) {
        if let Err(why) = result {
            return self.start_failed(name, &why);
        }
        let address = self.address(name);
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        if let Some(container) = &mut entry.container
            && let Some((pid, start_time)) = container.phase.process()
        {
            container.phase = Phase::Running {
                pid,
                start_time,
                started_at_ms: jiff::Timestamp::now().as_millisecond(),
            };
        }
        entry.problem = None;
        entry.address = address;
        let early = entry.early_exit.take();
        self.step(name, Event::Started);
        self.watch(name);
        if let Some(exit) = early {
            // It is on record, or waits for that, already.
            self.step(
                name,
                Event::Exited(super::state::Exit {
                    code: exit.code,
                    signal: exit.signal,
                }),
            );
        }
        self.show(name);
    }

    /// The unit's address on the bridge.
    pub(super) fn address(&self, name: &str) -> Option<std::net::Ipv4Addr> {
        let unit = self.units.get(name)?.effective()?.unit();
        let network = self.tools.network.as_ref()?;
        let bridged = crate::container::on_bridge(unit);
        bridged.then(|| network.reserve(name).ok()).flatten()
    }

    /// Begins to probe a running container.
    pub(super) fn watch(&mut self, name: &str) {
        let (reports, runtime) = (self.reports.clone(), self.tools.runtime.clone());
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        entry.watch = None;
        entry.health = None;
        let running = matches!(entry.machine.state, State::Running { since: _ });
        let wanted = entry.wanted.as_ref().or(entry.current.as_ref());
        let health = wanted.and_then(|definition| definition.unit().health.clone());
        if let (true, Some(health), Some(container)) = (running, health, &entry.container) {
            let target = crate::health::Target {
                runtime,
                container: container.id.clone(),
                address: entry.address,
                scratch: self.tools.paths.scratch(),
            };
            let (unit, id) = (name.to_owned(), container.id.clone());
            entry.health = Some(HealthState::Starting);
            let report = move |health, said| Report::Health(unit.clone(), id.clone(), health, said);
            entry.watch = Some(crate::health::watch(health, target, reports, report));
        }
        self.show(name);
    }

    /// Probes in the new way when only the probe was changed.
    pub(super) fn rewatch(&mut self, name: &str, before: Option<&Definition>, after: &Definition) {
        let old = before.and_then(|definition| definition.unit().health.as_ref());
        if before.is_some() && old != after.unit().health.as_ref() {
            self.watch(name);
        }
    }

    fn health(&mut self, name: &str, id: &str, health: HealthState, said: Option<String>) {
        if !self.is_current(name, id) {
            return;
        }
        if let Some(entry) = self.units.get_mut(name) {
            entry.health = Some(health);
            entry.problem = said.map(|said| format!("its health check fails: {said}"));
        }
        self.show(name);
        self.tend(name);
    }

    /// Does about bad health what the unit's policy says.
    pub(super) fn tend(&mut self, name: &str) {
        let health = self.units.get(name).and_then(|entry| entry.health);
        if health == Some(HealthState::Unhealthy) {
            self.step(name, Event::Unhealthy);
        }
    }

    /// Tells a container to end, in its own way.
    pub(super) fn terminate(&mut self, name: &str) {
        let entry = self.units.get(name);
        let unit = entry.and_then(|e| e.effective()).map(Definition::unit);
        let of_image = entry
            .and_then(|entry| entry.container.as_ref())
            .and_then(|container| container.stop_signal.as_deref())
            .and_then(|signal| Signal::from_str(signal).ok());
        let own = unit.and_then(|unit| unit.stop.signal);
        let signal = own.or(of_image).unwrap_or(Signal::TERM);
        self.signal(name, signal.number(), false);
    }

    /// Kills what there is in a unit's container, unless that is under way.
    pub(super) fn kill(&mut self, name: &str) {
        let killing = self.units.get(name).and_then(|e| e.killing.as_ref());
        if killing.is_some_and(|killing| !killing.is_finished()) {
            return;
        }
        let killing = self.signal(name, 9, true);
        if let Some(entry) = self.units.get_mut(name) {
            entry.killing = killing;
        }
    }

    /// Sends a signal to a unit's container.
    fn signal(&self, name: &str, signal: i32, all: bool) -> Option<JoinHandle<()>> {
        let container = self.units.get(name)?.container.as_ref()?;
        let (id, tools) = (container.id.clone(), self.tools.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = tools.signal(&id, signal, all).await {
                // It may have ended by itself; if not, it is killed in time.
                tracing::debug!("{id} did not get signal {signal}: {error}");
            }
        }))
    }

    /// The unit's file and container are gone; so goes what else it held.
    pub(super) fn forget(&mut self, name: &str) {
        let (tools, reports) = (self.tools.clone(), self.reports.clone());
        let unit = name.to_owned();
        self.save(name);
        tokio::spawn(async move {
            let (worker, of) = (tools.clone(), unit.clone());
            let done = tokio::task::spawn_blocking(move || worker.forget(&of)).await;
            let result = done.map_err(std::io::Error::other).flatten();
            let _ = reports.send(Report::Forgotten(unit, result)).await;
        });
    }

    fn forgotten(&mut self, name: &str, result: std::io::Result<()>) {
        let gone = |entry: &super::entry::Entry| entry.machine.state == State::Gone;
        if !self.units.get(name).is_some_and(gone) {
            return;
        }
        self.units.remove(name);
        record::forget(&self.tools.paths.unit_records(), name);
        super::exits::forget(&self.tools.paths.exits(), name);
        match result {
            Ok(()) => self.removed.clear(name),
            // Its mark stays: it is tried again at the next start.
            Err(error) => tracing::warn!("not all of {name} could be removed: {error}"),
        }
        // Before another unit of the same name could take them for its own.
        self.sort_unclaimed();
        let unit = name.to_owned();
        self.tell(EventKind::UnitRemoved { unit });
        // Its file may be back by now.
        self.reload();
    }
}

/// PID 1's answer, if it comes: what it cannot hear it does not answer.
async fn in_time(
    kept: oneshot::Receiver<Result<(), String>>,
    limit: Duration,
) -> Result<(), String> {
    match tokio::time::timeout(limit, kept).await {
        Ok(answer) => answer.map_err(|_| "the manager is going down")?,
        Err(_) => Err(format!(
            "PID 1 does not answer whether it keeps the container's output, for {} s",
            limit.as_secs()
        )),
    }
}

/// Makes a container and lets it run. The owner hears of each step that has to
/// be on record before the next one.
async fn start(
    tools: Tools,
    unit: Arc<Unit>,
    id: String,
    reports: mpsc::Sender<Report>,
) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let prepared = tools
        .prepare(Arc::clone(&unit), id.clone())
        .await
        .map_err(words)?;
    let gone = "the manager is going down";
    let name = unit.name.as_str().to_owned();
    if prepared.began_anew {
        let (unit, image) = (name.clone(), unit.container.image.as_str().to_owned());
        let report = Report::BeganAnew { unit, image };
        reports.send(report).await.map_err(|_| gone)?;
    }
    let copies = [0, 1].map(|which: usize| prepared.fifos[which].try_clone());
    let [stdout, stderr] = copies;
    let fifos = [stdout.map_err(words)?, stderr.map_err(words)?];
    let (reply, kept) = oneshot::channel();
    let report = Report::Output(name.clone(), id.clone(), fifos, reply);
    reports.send(report).await.map_err(|_| gone)?;
    in_time(kept, KEEP_TIMEOUT).await?;
    let process = tools.create(&id, &prepared).await.map_err(words)?;
    let (go, may_go) = oneshot::channel();
    let report = Report::Created {
        unit: name,
        id: id.clone(),
        process,
        stop_signal: prepared.stop_signal.clone(),
        image_id: prepared.image_id.clone(),
        go,
    };
    reports.send(report).await.map_err(|_| gone)?;
    may_go.await.map_err(|_| gone)??;
    tools
        .start(&unit, &id, process.0, &prepared)
        .await
        .map_err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_does_not_wait_for_pid_1_for_ever() {
        let (reply, kept) = oneshot::channel();
        let error = in_time(kept, Duration::ZERO).await.unwrap_err();
        assert!(error.contains("PID 1 does not answer"), "{error}");
        assert!(reply.is_closed(), "and PID 1's answer comes too late");
        let (reply, kept) = oneshot::channel();
        reply.send(Ok(())).unwrap();
        assert_eq!(in_time(kept, Duration::ZERO).await, Ok(()));
    }
}
