//! Taking over from the manager before, as the very first thing.
//!
//! Containers may be writing, and wait once their pipes are full: so what PID 1
//! kept and what is on record is read, and the output of every container is
//! collected again, before the network, the images and the ways in are looked
//! at. All else is [`Owner`]'s recovery.
//!
//! [`Owner`]: super::owner::Owner

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;

use orlop_handover::{FromInit, ToInit};
use tokio::sync::mpsc;

use super::definitions::Definition;
use super::entry::Entry;
use super::exits::{Recorded, Unrecorded};
use super::record::{self, Record};
use super::stopping::Stopping;
use crate::init_link::{Incoming, Outbox};
use crate::paths::Paths;

/// Where things stood.
#[derive(Debug)]
pub struct Past {
    /// The units on record, their output being collected.
    pub(super) units: BTreeMap<String, Entry>,
    /// Exits that the manager before could not record.
    pub(super) unrecorded: Unrecorded,
    /// The exits that PID 1 holds.
    pub(super) exits: Vec<Recorded>,
    /// What PID 1 keeps that no unit's container wanted.
    pub(super) kept: HashMap<String, Vec<OwnedFd>>,
    /// The host is going down.
    pub(super) stopping: Option<Stopping>,
}

impl Past {
    /// Hears PID 1, reads the records and goes on collecting output.
    pub async fn take_over(
        paths: &Paths,
        boot_id: &str,
        to_init: &mut Outbox,
        from_init: &mut mpsc::Receiver<Incoming>,
    ) -> anyhow::Result<Past> {
        let mut past = Past {
            units: BTreeMap::new(),
            unrecorded: Unrecorded::default(),
            exits: Vec::new(),
            kept: HashMap::new(),
            stopping: None,
        };
        past.listen(boot_id, to_init, from_init).await?;
        for (name, mut record) in record::load(&paths.unit_records())? {
            let unrecorded = std::mem::take(&mut record.unrecorded);
            past.unrecorded.restore(&name, unrecorded);
            past.units.insert(name, restore(record));
        }
        for (name, entry) in &mut past.units {
            let id = entry.container.as_ref().map(|container| &container.id);
            let kept = id.and_then(|id| past.kept.remove(id));
            entry.resume_collecting(paths, name, kept);
        }
        Ok(past)
    }

    /// Hears what PID 1 has to tell of the past.
    async fn listen(
        &mut self,
        boot_id: &str,
        to_init: &mut Outbox,
        from_init: &mut mpsc::Receiver<Incoming>,
    ) -> anyhow::Result<()> {
        loop {
            let Some((message, fds)) = from_init.recv().await else {
                anyhow::bail!("PID 1 is gone");
            };
            match message {
                FromInit::Ready => return Ok(()),
                FromInit::Kept { key, names: _ } => {
                    self.kept.insert(key, fds);
                }
                FromInit::Exit {
                    pid,
                    start_time,
                    code,
                    signal,
                    at_ms,
                } => self.exits.push(Recorded {
                    boot: boot_id.to_owned(),
                    pid,
                    start_time,
                    code,
                    signal,
                    out_of_memory: false,
                    at_ms,
                }),
                FromInit::Ping { seq } => to_init.say(ToInit::Pong { seq }, Vec::new()),
                FromInit::StopContainers { deadline_ms } => {
                    self.stopping = Some(Stopping::within(deadline_ms));
                }
                FromInit::Welcome { kept: _ }
                | FromInit::KeptOk { key: _ }
                | FromInit::KeepRefused { key: _, reason: _ } => {}
            }
        }
    }
}

fn restore(record: Record) -> Entry {
    let mut entry = Entry::new();
    let source = record.source;
    let definition = record
        .text
        .and_then(|text| Definition::parse(Path::new(&source), text.as_bytes()).ok());
    entry.source = source;
    entry.fileless = record.fileless;
    entry.wanted = definition.clone();
    entry.current = record.container.as_ref().and(definition);
    entry.machine = record.machine;
    entry.container = record.container;
    entry.problem = record.problem;
    entry
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::record::{Container, Phase};
    use super::super::state::{Machine, State};
    use super::*;
    use crate::container::stdio;

    const UNIT: &str = "[container]\nimage = \"localhost/web:1\"\n";

    fn unrecorded() -> Recorded {
        Recorded {
            boot: "boot".to_owned(),
            pid: 3,
            start_time: 2,
            code: Some(1),
            signal: None,
            out_of_memory: false,
            at_ms: 1,
        }
    }

    /// A running container on record, and its output as PID 1 keeps it.
    fn running(paths: &Paths) -> [OwnedFd; 2] {
        let dir = paths.container("web-1");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all(paths.unit_records()).unwrap();
        let record = Record {
            machine: Machine {
                state: State::Running { since: 0 },
                ..Machine::new()
            },
            container: Some(Container {
                id: "web-1".to_owned(),
                phase: Phase::Running {
                    pid: 5,
                    start_time: 7,
                    started_at_ms: 0,
                },
                stop_signal: None,
                image_id: String::new(),
            }),
            text: Some(UNIT.to_owned()),
            source: "web.toml".to_owned(),
            fileless: None,
            problem: None,
            unrecorded: vec![unrecorded()],
        };
        record::save(&paths.unit_records(), "web", &record).unwrap();
        let ids = (rustix::process::getuid(), rustix::process::getgid());
        stdio::make(&dir, ids.0.as_raw(), ids.1.as_raw()).unwrap()
    }

    #[tokio::test]
    async fn output_is_collected_by_the_time_that_pid_1_has_said_it_all() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let kept = running(&paths);
        let [stdout, _stderr] = stdio::container_ends(&paths.container("web-1")).unwrap();
        std::fs::File::from(stdout).write_all(b"hello\n").unwrap();
        let exit = FromInit::Exit {
            pid: 9,
            start_time: 8,
            code: Some(3),
            signal: None,
            at_ms: 1,
        };
        let key = "web-1".to_owned();
        let names = stdio::NAMES.map(str::to_owned).to_vec();
        let (to_init, mut answers) = mpsc::channel(8);
        let mut to_init = Outbox::new(to_init);
        let (tell, mut from_init) = mpsc::channel(8);
        for (message, fds) in [
            (FromInit::Welcome { kept: 1 }, Vec::new()),
            (FromInit::Kept { key, names }, Vec::from(kept)),
            (exit, Vec::new()),
            (FromInit::Ping { seq: 4 }, Vec::new()),
            (FromInit::Ready, Vec::new()),
        ] {
            tell.send((message, fds)).await.unwrap();
        }
        let past = Past::take_over(&paths, "boot", &mut to_init, &mut from_init).await;
        let past = past.unwrap();
        assert_eq!((past.exits.len(), past.exits[0].code), (1, Some(3)));
        assert!(past.kept.is_empty());
        assert_eq!(past.unrecorded.of("web"), [unrecorded()]);
        let (answer, _) = answers.recv().await.unwrap();
        assert!(matches!(answer, ToInit::Pong { seq: 4 }));
        // Nothing else is needed for the log to grow.
        let mut grown = past.units["web"].grown.subscribe();
        let all = grown.wait_for(|bytes| *bytes == 6);
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, all).await.unwrap().unwrap();
        let log = paths.logs("web").join("stdout.0000000001.log");
        assert_eq!(std::fs::read(log).unwrap(), b"hello\n");
    }
}
