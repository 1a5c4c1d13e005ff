//! The owner task: the only one that changes a unit's state.
//!
//! It takes one thing at a time from its queues (requests, PID 1, reports of
//! its own operations, changed unit directories, the clock), steps the unit's
//! machine, puts the result on record and starts what the machine asks for.
//! It never waits for an operation.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::Timestamp;
use orlop_control::types::{ApplyReport, Event as Happened, EventKind, HealthState};
use orlop_handover::{FromInit, ToInit};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::apply::Committed;
use super::entry::Entry;
use super::exits::{Recorded, Unrecorded};
use super::fileless::Removed;
use super::files::Files;
use super::past::Past;
use super::record::{self, Record};
use super::state::{Action, Event, State, step};
use super::stopping::{Asked, Stopping};
use super::strangers::Strangers;
use crate::container::Tools;
use crate::container::image::Turn;
use crate::container::runtime::Found;
use crate::handle::{Reply, Request};
use crate::host::Host;
use crate::init_link::{Incoming, Outbox};
use crate::logs::Collector;

/// What operations report.
#[derive(Debug)]
pub(super) enum Report {
    /// What a unit wrote went with the image that it wrote it over.
    BeganAnew { unit: String, image: String },
    /// A container's output is there: have it kept and collected.
    Output(
        String,
        String,
        [OwnedFd; 2],
        oneshot::Sender<Result<(), String>>,
    ),
    /// A container's process is there, waiting.
    Created {
        unit: String,
        id: String,
        process: (i32, u64),
        stop_signal: Option<String>,
        image_id: String,
        go: oneshot::Sender<Result<(), String>>,
    },
    /// A start came to an end.
    Started(String, String, Result<(), String>),
    /// What an earlier manager's container came to.
    Looked(String, String, Result<Option<Found>, String>),
    /// A container of an earlier manager is connected, or not.
    Adopted(String, String, Result<(), String>),
    /// What a container held was given back, or not yet.
    Cleaned(String, String, Result<(), Unclean>),
    /// A container of which nothing is known was taken away, or not yet.
    SentAway(String, Result<(), String>),
    /// What a unit held was given back, or not all of it.
    Forgotten(String, std::io::Result<()>),
    /// A probe's result changed a container's health.
    Health(String, String, HealthState, Option<String>),
    /// Unit files were written, or not.
    Applied(std::io::Result<Committed>, ApplyReport, Reply<ApplyReport>),
    /// What an apply left to do was tried again.
    Finished(std::io::Result<()>),
    /// An image came into the store.
    Loaded(Vec<String>, Turn),
    /// What an operator should know went wrong aside.
    Warning(String),
}

/// Why what a container held is not given back, and the collector of its output
/// if it may still write.
pub(super) type Unclean = (String, Option<Collector>);

/// How many reports may wait.
const REPORTS_MAX: usize = 256;
/// How often what should be is compared with what is.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The owner's queues.
#[derive(Debug)]
pub struct Queues {
    /// Requests of the interfaces.
    pub requests: mpsc::Receiver<Request>,
    /// To PID 1.
    pub to_init: Outbox,
    /// From PID 1.
    pub from_init: mpsc::Receiver<Incoming>,
    /// Changes in the unit directories.
    pub changes: mpsc::Receiver<()>,
    /// What happens, for the interfaces.
    pub events: broadcast::Sender<Happened>,
    /// Told once the first containers are being made.
    pub begun: oneshot::Sender<()>,
}

/// The owner.
#[derive(Debug)]
pub struct Owner {
    pub(super) tools: Tools,
    pub(super) host: Host,
    pub(super) units: BTreeMap<String, Entry>,
    pub(super) events: broadcast::Sender<Happened>,
    pub(super) init: Outbox,
    pub(super) reports: mpsc::Sender<Report>,
    /// Exits that no container is known for while one is being made.
    pub(super) unclaimed: Vec<Recorded>,
    /// Exits that their units know of, but the record does not yet.
    pub(super) unrecorded: Unrecorded,
    /// What is to go before its unit may start.
    pub(super) strangers: Strangers,
    /// Who waits for PID 1 to keep a container's output.
    pub(super) keeping: HashMap<String, Keeping>,
    /// What is under way with the unit files.
    pub(super) files: Files,
    /// The units that are to go for good.
    pub(super) removed: Removed,
    /// Why the unit directories could not be read the last time.
    pub(super) unreadable: Option<String>,
    /// What else an operator should know of the unit directories.
    pub(super) dir_warnings: Vec<String>,
    /// The host goes down.
    pub(super) stopping: Option<Stopping>,
    /// A shutdown that was asked for.
    pub(super) asked: Asked,
}

/// A container whose output PID 1 is asked to keep.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) unit: String,
    pub(super) fifos: [OwnedFd; 2],
    pub(super) reply: oneshot::Sender<Result<(), String>>,
}

impl Owner {
    /// Goes on from the past and runs for as long as PID 1 does.
    pub async fn run(tools: Tools, host: Host, past: Past, queues: Queues) -> anyhow::Result<()> {
        let Queues {
            mut requests,
            to_init,
            mut from_init,
            mut changes,
            events,
            begun,
        } = queues;
        let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
        let removed = Removed::open(tools.paths.removed())?;
        let mut owner = Owner {
            tools,
            host,
            units: BTreeMap::new(),
            events,
            init: to_init,
            reports,
            unclaimed: Vec::new(),
            unrecorded: Unrecorded::default(),
            strangers: Strangers::default(),
            keeping: HashMap::new(),
            files: Files::default(),
            removed,
            unreadable: None,
            dir_warnings: Vec::new(),
            stopping: None,
            asked: Asked::default(),
        };
        owner.recover(past);
        owner.settle();
        // Who has stopped waiting for it needs it no more.
        let _ = begun.send(());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = owner.next_due();
            // While PID 1 does not listen, only what comes from it is taken up.
            let free = !owner.init.is_crowded();
            tokio::select! {
                message = from_init.recv() => match message {
                    Some((message, _fds)) => owner.hear(message),
                    None => anyhow::bail!("PID 1 is gone"),
                },
                () = owner.init.pass_on() => {}
                Some(report) = reported.recv(), if free => owner.take(report),
                Some(request) = requests.recv(), if free => owner.answer(request),
                Some(()) = changes.recv(), if free => owner.reload(),
                _ = look.tick(), if free => owner.look_around(),
                () = until(due), if free => owner.tick(),
            }
            owner.settle();
        }
    }

    fn next_due(&self) -> Option<u64> {
        let units = self.units.values();
        let machines = units.filter_map(|entry| entry.machine.deadline());
        machines.chain(self.file_due()).min()
    }

    /// When files that are gone are to be looked for again.
    fn file_due(&self) -> Option<u64> {
        // Otherwise they are looked for when they can be.
        let readable = self.unreadable.is_none() && self.files.settled();
        let follows = self.stopping.is_none() && readable;
        let units = self.units.values().filter(|_| follows);
        units.filter_map(|entry| entry.fileless?.due()).min()
    }

    fn tick(&mut self) {
        let now = now_ms();
        let due = |entry: &Entry| entry.machine.deadline().is_some_and(|at| at <= now);
        let due: Vec<String> = self.names_where(|_, entry| due(entry));
        for name in due {
            self.step(&name, Event::Tick);
        }
        if self.file_due().is_some_and(|at| at <= now) {
            self.reload();
        }
    }

    pub(super) fn names_where(&self, wanted: impl Fn(&str, &Entry) -> bool) -> Vec<String> {
        let units = self.units.iter();
        units
            .filter(|(name, entry)| wanted(name, entry))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Steps one unit, puts it on record and does what follows.
    pub(super) fn step(&mut self, name: &str, event: Event) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let (policy, now) = (entry.policy(), now_ms());
        let stopping = self.stopping.as_ref();
        let policy = stopping.map_or(policy, |stopping| stopping.bound(policy, now));
        let (machine, action) = step(entry.machine.clone(), event, now, policy);
        entry.machine = machine;
        match action {
            Some(Action::Create) => self.create(name),
            Some(Action::Clean) => {
                self.save(name);
                self.clean(name);
            }
            Some(Action::Terminate) => {
                self.save(name);
                self.terminate(name);
            }
            Some(Action::Kill) => {
                self.save(name);
                self.kill(name);
            }
            Some(Action::Forget) => self.forget(name),
            None => self.save(name),
        }
        self.show(name);
    }

    /// Puts a unit on record. One that cannot be written is tried again at each
    /// look; meanwhile nothing new is begun for the unit, but what there is of
    /// it goes on: its container's own state is there to recover from.
    pub(super) fn save(&mut self, name: &str) {
        let unrecorded = self.unrecorded.of(name);
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let definition = entry.effective();
        let record = Record {
            machine: entry.machine.clone(),
            container: entry.container.clone(),
            text: definition.map(|definition| definition.text.to_string()),
            source: entry.source.clone(),
            fileless: entry.fileless,
            problem: entry.problem.clone(),
            unrecorded,
        };
        let saved = record::save(&self.tools.paths.unit_records(), name, &record);
        let unsaved = saved.err().map(|error| error.to_string());
        if let Some(error) = unsaved.as_ref().filter(|_| entry.unsaved != unsaved) {
            tracing::error!("{name} cannot be put on record: {error}");
        }
        entry.unsaved = unsaved;
    }

    /// Why a unit's record is not that of its state, if so.
    pub(super) fn unsaved(&self, name: &str) -> Option<String> {
        let unsaved = self.units.get(name)?.unsaved.as_ref()?;
        Some(format!("it cannot be put on record: {unsaved}"))
    }

    /// Tells the world, if there is news of a unit.
    pub(super) fn show(&mut self, name: &str) {
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        let now = (entry.state(), entry.health, entry.reason());
        let before = entry.shown.replace(now.clone());
        if before.as_ref() == Some(&now) {
            return;
        }
        let (state, health, reason) = now;
        let unit = name.to_owned();
        let health_before = before.as_ref().and_then(|(_, health, _)| *health);
        if before.is_none_or(|(s, _, r)| (s, r) != (state, reason.clone())) {
            self.tell(EventKind::UnitState {
                unit: unit.clone(),
                state,
                reason,
            });
        }
        if let Some(health) = health.filter(|health| Some(*health) != health_before) {
            self.tell(EventKind::UnitHealth { unit, health });
        }
    }

    /// Sends an event; nobody listening is no error.
    pub(super) fn tell(&self, kind: EventKind) {
        let _ = self.events.send(Happened {
            time: Timestamp::now(),
            kind,
        });
    }

    fn hear(&mut self, message: FromInit) {
        match message {
            FromInit::Ping { seq } => self.init.say(ToInit::Pong { seq }, Vec::new()),
            FromInit::Exit {
                pid,
                start_time,
                code,
                signal,
                at_ms,
            } => self.exited(Recorded {
                boot: self.host.boot_id.clone(),
                pid,
                start_time,
                code,
                signal,
                out_of_memory: false,
                at_ms,
            }),
            FromInit::KeptOk { key } => self.kept_answer(&key, Ok(())),
            FromInit::KeepRefused { key, reason } => self.kept_answer(&key, Err(reason)),
            FromInit::StopContainers { deadline_ms } => self.stop_containers(deadline_ms),
            // Only said before Ready, to whoever takes over.
            FromInit::Kept { key: _, names: _ }
            | FromInit::Welcome { kept: _ }
            | FromInit::Ready => {}
        }
    }

    /// Starts what may start, stops what is to stop, until nothing moves.
    fn settle(&mut self) {
        if self.stopping.is_some() {
            return self.settle_stopping();
        }
        let waiting = self.names_where(|_, entry| entry.machine.state == State::Waiting);
        for name in waiting {
            let blockers = self.blockers(&name);
            let free = blockers.is_empty();
            if let Some(entry) = self.units.get_mut(&name) {
                entry.blockers = blockers;
            }
            if free {
                self.step(&name, Event::Ready);
            } else {
                self.show(&name);
            }
        }
    }

    fn blockers(&self, name: &str) -> Vec<String> {
        let Some(definition) = self.units.get(name).and_then(|entry| entry.wanted.as_ref()) else {
            return vec!["a good unit file".to_owned()];
        };
        let unit = definition.unit();
        let mut blockers: Vec<String> = self.strangers.of(name).collect();
        for other in &unit.requires {
            match self.units.get(other.as_str()) {
                Some(entry) if entry.ready() => {}
                Some(entry) => blockers.push(match entry.health {
                    Some(health) => format!("{other}, which is {}", health.as_str()),
                    None => format!("{other}, which is {}", entry.state()),
                }),
                None => blockers.push(format!("{other}, which does not exist")),
            }
        }
        for other in &unit.after {
            // Only an order: a unit that is not to run, or cannot, is not waited for.
            let under_way = self.units.get(other.as_str()).is_some_and(|entry| {
                let tried = matches!(entry.machine.state, State::Backoff { until: _ });
                let unwell = entry.health == Some(HealthState::Unhealthy);
                entry.machine.wanted() && !entry.ready() && !tried && !unwell
            });
            if under_way {
                blockers.push(format!("{other}, which is about to run"));
            }
        }
        blockers
    }
}

/// Milliseconds of the boot clock.
pub(crate) fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

async fn until(due: Option<u64>) {
    match due {
        Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now_ms()))).await,
        None => std::future::pending().await,
    }
}
