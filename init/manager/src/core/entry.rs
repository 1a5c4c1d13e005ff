//! A unit as the owner task holds it, and as it is shown.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use orlop_control::types::{
    Desired, Diagnostic, HealthState, LastExit, PortStatus, Protocol, UnitState, UnitStatus,
};
use orlop_unit::Unit;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::definitions::Definition;
use super::exits::Recorded;
use super::fileless::Fileless;
use super::record::{Container, Phase};
use super::state::{Machine, Next, Policy, State};
use crate::health::Watch;
use crate::logs::Collector;

/// A unit.
#[derive(Debug)]
pub(super) struct Entry {
    /// The newest good definition.
    pub(super) wanted: Option<Definition>,
    /// The definition that the container was made from.
    pub(super) current: Option<Definition>,
    /// What is wrong with its file, if it is not the newest good definition.
    pub(super) findings: Vec<orlop_unit::Diagnostic>,
    pub(super) source: String,
    /// Its file is gone.
    pub(super) fileless: Option<Fileless>,
    pub(super) machine: Machine,
    pub(super) container: Option<Container>,
    /// Why its record is not that of its state.
    pub(super) unsaved: Option<String>,
    pub(super) collector: Option<Collector>,
    /// Why its container's output is not collected.
    pub(super) uncollected: Option<String>,
    pub(super) health: Option<HealthState>,
    pub(super) watch: Option<Watch>,
    /// The last SIGKILL that was sent to it.
    pub(super) killing: Option<JoinHandle<()>>,
    /// Why it failed to start, or what its probe says, or what it waits for.
    pub(super) problem: Option<String>,
    /// What stands in the way of its container being connected, or given back.
    pub(super) trouble: Option<String>,
    pub(super) blockers: Vec<String>,
    pub(super) last_exit: Option<Recorded>,
    /// An exit that came before the start was done.
    pub(super) early_exit: Option<Recorded>,
    /// For how many looks in a row its process was not there.
    pub(super) missing: u32,
    /// How many looks at what an earlier manager left have failed.
    pub(super) looks: u32,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) grown: watch::Sender<u64>,
    pub(super) dropped: watch::Sender<u64>,
    /// What was last told to the world.
    pub(super) shown: Option<(UnitState, Option<HealthState>, Option<String>)>,
}

impl Entry {
    pub(super) fn new() -> Entry {
        Entry {
            wanted: None,
            current: None,
            findings: Vec::new(),
            source: String::new(),
            fileless: None,
            machine: Machine::new(),
            container: None,
            unsaved: None,
            collector: None,
            uncollected: None,
            health: None,
            watch: None,
            killing: None,
            problem: None,
            trouble: None,
            blockers: Vec::new(),
            last_exit: None,
            early_exit: None,
            missing: 0,
            looks: 0,
            address: None,
            grown: watch::Sender::new(0),
            dropped: watch::Sender::new(0),
            shown: None,
        }
    }

    /// The definition that counts for what is there now.
    pub(super) fn effective(&self) -> Option<&Definition> {
        match &self.container {
            Some(_) => self.current.as_ref().or(self.wanted.as_ref()),
            None => self.wanted.as_ref(),
        }
    }

    /// Takes a new definition. What its container is made of counts from the
    /// next container on; all else counts for the one that is there. Returns
    /// the definition before.
    pub(super) fn follow(&mut self, new: Definition) -> Option<Definition> {
        let same = self.current.as_ref().is_some_and(|current| {
            let (made, new) = (current.unit(), new.unit());
            made.container == new.container && made.resources == new.resources
        });
        if same {
            if let Some(collector) = &self.collector {
                collector.limit(super::output::limits(&new));
            }
            self.current = Some(new.clone());
        }
        self.wanted.replace(new)
    }

    /// How the machine is to treat it. Restart and stop settings are the newest.
    pub(super) fn policy(&self) -> Policy {
        let unit = self.wanted.as_ref().or(self.current.as_ref());
        let restart = unit.map(|d| d.unit().restart).unwrap_or_default();
        let stop = unit.map(|d| d.unit().stop).unwrap_or_default();
        let ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Policy {
            restart: restart.policy,
            backoff_min_ms: ms(restart.backoff_min),
            backoff_max_ms: ms(restart.backoff_max),
            stop_timeout_ms: ms(stop.timeout),
        }
    }

    /// Whether what requires it may start.
    pub(super) fn ready(&self) -> bool {
        match &self.machine.state {
            State::Running { since: _ } => {
                let probed = self.effective().is_some_and(|d| d.unit().health.is_some());
                !probed || self.health == Some(HealthState::Healthy)
            }
            State::Stopped
            | State::Waiting
            | State::Starting { then: _ }
            | State::Stopping {
                kill_at: _,
                next: _,
            }
            | State::Cleaning { next: _ }
            | State::Backoff { until: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => false,
        }
    }

    /// The exit of the container that it has, if it is on record.
    pub(super) fn ended(&self, boot: &str) -> Option<&Recorded> {
        let process = self.container.as_ref()?.phase.process()?;
        self.last_exit
            .as_ref()
            .filter(|exit| exit.boot == boot && (exit.pid, exit.start_time) == process)
    }

    /// Whether it was stopped as its file is gone.
    pub(super) fn abandoned(&self) -> bool {
        matches!(self.fileless, Some(Fileless::Stopped { again: _ }))
    }

    /// Whether its file may be back in a moment.
    pub(super) fn awaited(&self) -> bool {
        matches!(self.fileless, Some(Fileless::Since(_)))
    }

    pub(super) fn state(&self) -> UnitState {
        if self.wanted.is_none() && self.container.is_none() && !self.abandoned() {
            return UnitState::Rejected;
        }
        match &self.machine.state {
            State::Stopped | State::Gone => UnitState::Stopped,
            State::Waiting => UnitState::Waiting,
            State::Starting { then: _ } => UnitState::Starting,
            State::Running { since: _ } => UnitState::Running,
            State::Stopping {
                kill_at: _,
                next: _,
            }
            | State::Cleaning { next: _ } => UnitState::Stopping,
            State::Backoff { until: _ } => UnitState::Backoff,
            State::Exited(_) => UnitState::Exited,
            State::Failed => UnitState::Failed,
        }
    }

    /// Why it is not running, or not healthy.
    pub(super) fn reason(&self) -> Option<String> {
        let ended = || {
            let exit = self.last_exit.as_ref();
            let words = exit.map(|exit| super::state::Exit {
                code: exit.code,
                signal: exit.signal,
            });
            let killed = exit.is_some_and(|exit| exit.out_of_memory);
            match (&self.problem, words) {
                (Some(problem), _) => problem.clone(),
                (None, Some(exit)) if killed => format!("{}: out of memory", exit.words()),
                (None, Some(exit)) => exit.words(),
                (None, None) => "it ended".to_owned(),
            }
        };
        if self.state() == UnitState::Rejected {
            let first = self.findings.first();
            return Some(first.map_or_else(
                || "its file is gone".to_owned(),
                |finding| format!("{}:{}: {}", finding.file, finding.line, finding.message),
            ));
        }
        if self.abandoned() && self.container.is_none() {
            return Some("its file is gone; what it wrote is kept until `orlop rm`".to_owned());
        }
        match &self.machine.state {
            State::Stopped | State::Gone => Some(match &self.wanted {
                Some(definition) if !definition.unit().enabled => {
                    "its file says enabled = false".to_owned()
                }
                Some(_) | None => "stopped by an operator".to_owned(),
            }),
            State::Waiting if self.blockers.is_empty() => Some("about to start".to_owned()),
            State::Waiting => Some(format!("waits for {}", self.blockers.join(", "))),
            State::Starting { then: _ } => Some("its container is being made".to_owned()),
            State::Running { since: _ } => match (&self.trouble, self.health) {
                // Its health may be bad for just that.
                (Some(trouble), _) => Some(trouble.clone()),
                (None, Some(HealthState::Unhealthy)) => self.problem.clone(),
                (None, Some(HealthState::Starting | HealthState::Healthy) | None) => None,
            },
            State::Stopping { kill_at, next } => Some(match (kill_at, next) {
                (Some(_), Next::Remove) => "removed; told to stop".to_owned(),
                (Some(_), _) if self.abandoned() => "its file is gone; told to stop".to_owned(),
                (Some(_), Next::Later(_)) => {
                    let why = self.problem.as_deref().unwrap_or("it is unhealthy");
                    format!("{why}; told to stop")
                }
                (Some(_), Next::Stop | Next::Again | Next::Exited(_) | Next::Failed) => {
                    "told to stop".to_owned()
                }
                (None, _) => "killed, as it did not stop in time".to_owned(),
            }),
            State::Cleaning { next: _ } => Some(match &self.trouble {
                Some(trouble) => format!("{}; {trouble}", ended()),
                None => ended(),
            }),
            State::Backoff { until: _ } => Some(format!("{}; will be tried again", ended())),
            State::Exited(_) => Some(ended()),
            State::Failed => Some(ended()),
        }
    }

    pub(super) fn status(&self, name: &str, now_boot_ms: u64) -> UnitStatus {
        let unit = self.effective().map(Definition::unit);
        let process = self.container.as_ref().and_then(|c| c.phase.process());
        let started_at = self.container.as_ref().and_then(|c| match c.phase {
            Phase::Running {
                pid: _,
                start_time: _,
                started_at_ms,
            } => Timestamp::from_millisecond(started_at_ms).ok(),
            Phase::Creating
            | Phase::Starting {
                pid: _,
                start_time: _,
            } => None,
        });
        let retry_at = match self.machine.state {
            State::Backoff { until } => {
                let wait = i64::try_from(until.saturating_sub(now_boot_ms)).unwrap_or(i64::MAX);
                let now = Timestamp::now().as_millisecond();
                Timestamp::from_millisecond(now.saturating_add(wait)).ok()
            }
            _ => None,
        };
        UnitStatus {
            name: name.to_owned(),
            description: unit.map(|u| u.description.clone()).unwrap_or_default(),
            desired: if self.machine.wanted() {
                Desired::Started
            } else {
                Desired::Stopped
            },
            state: self.state(),
            health: self.health,
            reason: self.reason(),
            diagnostics: self.findings.iter().map(diagnostic).collect(),
            image: unit
                .map(|u| u.container.image.as_str().to_owned())
                .unwrap_or_default(),
            pid: process.map(|(pid, _)| pid),
            container_id: self.container.as_ref().map(|c| c.id.clone()),
            address: self.address,
            ports: unit.map(ports).unwrap_or_default(),
            started_at,
            restarts: self.machine.restarts,
            retry_at,
            last_exit: self.last_exit.as_ref().map(last_exit),
            enabled: self.wanted.as_ref().is_some_and(|d| d.unit().enabled),
            source: self.source.clone(),
        }
    }
}

/// An exit as it is shown.
pub(super) fn last_exit(exit: &Recorded) -> LastExit {
    let at = i64::try_from(exit.at_ms).unwrap_or(i64::MAX);
    LastExit {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        at: Timestamp::from_millisecond(at).unwrap_or_default(),
    }
}

/// A finding as it is shown.
pub(super) fn diagnostic(finding: &orlop_unit::Diagnostic) -> Diagnostic {
    Diagnostic {
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
        help: finding.help.clone(),
    }
}

fn ports(unit: &Unit) -> Vec<PortStatus> {
    let port = |port: &orlop_unit::PortMap| PortStatus {
        host_ip: port.host_ip,
        host: port.host,
        container: port.container,
        protocol: match port.protocol {
            orlop_unit::Protocol::Tcp => Protocol::Tcp,
            orlop_unit::Protocol::Udp => Protocol::Udp,
        },
    };
    unit.container.ports.iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(pid: i32) -> Entry {
        let mut entry = Entry::new();
        entry.machine.state = State::Running { since: 0 };
        entry.container = Some(Container {
            id: "web-1".to_owned(),
            phase: Phase::Running {
                pid,
                start_time: 7,
                started_at_ms: 0,
            },
            stop_signal: None,
            image_id: String::new(),
        });
        entry
    }

    #[test]
    fn an_exit_is_its_containers_by_boot_and_process() {
        let mut entry = running(5);
        assert_eq!(entry.ended("b"), None);
        let exit = Recorded {
            boot: "b".to_owned(),
            pid: 5,
            start_time: 7,
            code: Some(3),
            signal: None,
            out_of_memory: false,
            at_ms: 1,
        };
        entry.last_exit = Some(exit.clone());
        assert_eq!(entry.ended("b"), Some(&exit));
        assert_eq!(entry.ended("another boot"), None);
        let later = Recorded {
            start_time: 8,
            ..exit.clone()
        };
        entry.last_exit = Some(later);
        assert_eq!(entry.ended("b"), None);
        entry.last_exit = Some(exit);
        entry.container = None;
        assert_eq!(entry.ended("b"), None);
    }

    fn definition(more: &str) -> Definition {
        let text = format!("[container]\nimage = \"localhost/web:1\"\n{more}");
        Definition::parse(std::path::Path::new("web.toml"), text.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_container_is_not_made_of_counts_at_once() {
        let mut entry = running(5);
        entry.current = Some(definition(""));
        entry.wanted = entry.current.clone();
        let stop = definition("[stop]\nsignal = \"SIGQUIT\"\n[logs]\nmax-size = \"1M\"\n");
        let before = entry.follow(stop).unwrap();
        assert_eq!(before.unit().stop.signal, None);
        let signal = |entry: &Entry| entry.effective().unwrap().unit().stop.signal;
        assert_eq!(signal(&entry), Some(orlop_unit::Signal::QUIT));
        // Another container, which is to be stopped as the one that is there.
        entry.follow(definition("command = [\"other\"]\n"));
        assert_eq!(signal(&entry), Some(orlop_unit::Signal::QUIT));
        entry.container = None;
        entry.current = None;
        assert_eq!(signal(&entry), None);
    }

    #[test]
    fn what_cannot_be_connected_or_given_back_is_told() {
        let mut entry = running(5);
        entry.wanted = Some(definition(""));
        assert_eq!(entry.reason(), None);
        entry.trouble = Some("no way".to_owned());
        assert_eq!(entry.reason().unwrap(), "no way");
        entry.machine.state = State::Cleaning { next: Next::Again };
        assert_eq!(entry.reason().unwrap(), "it ended; no way");
    }

    #[test]
    fn only_a_container_that_may_write_lacks_a_collector() {
        let mut entry = running(5);
        assert!(entry.lacks_collector());
        entry.machine.state = State::Cleaning { next: Next::Again };
        assert!(!entry.lacks_collector());
        entry.machine.state = State::Starting { then: None };
        assert!(entry.lacks_collector());
        if let Some(container) = &mut entry.container {
            container.phase = Phase::Creating;
        }
        assert!(!entry.lacks_collector());
    }
}
