//! The checked types.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::value::{
    Bytes, Capability, Device, ImageName, Mount, PortMap, Rlimit, Signal, Tmpfs, UnitName, User,
};

/// A unit: what a file `web.toml` declares for `web`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The file's name without `.toml`.
    pub name: UnitName,
    /// `[unit] description`: one line for a person; may be empty.
    pub description: String,
    /// `[unit] enabled`: whether it is started without being asked (default true).
    pub enabled: bool,
    /// `[unit] requires`: units that must be ready before this one starts.
    pub requires: Vec<UnitName>,
    /// `[unit] after`: units that, where they are to run too, are started first.
    pub after: Vec<UnitName>,
    /// `[container]`.
    pub container: Container,
    /// `[resources]`.
    pub resources: Resources,
    /// `[health]`; without it a unit is ready as soon as its process runs.
    pub health: Option<Health>,
    /// `[restart]`.
    pub restart: Restart,
    /// `[stop]`.
    pub stop: Stop,
    /// `[logs]`.
    pub logs: Logs,
}

/// `[container]`: the image, and what of the host its container sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The OCI image.
    pub image: ImageName,
    /// Instead of the image's command; arguments of the entrypoint where there is one.
    pub command: Option<Vec<String>>,
    /// Instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's user.
    pub user: Option<User>,
    /// Instead of the image's working directory; absolute.
    pub working_dir: Option<String>,
    /// Added to the image's environment.
    pub environment: BTreeMap<String, String>,
    /// Published ports; no two clash.
    pub ports: Vec<PortMap>,
    /// Volumes; no two on the same target.
    pub volumes: Vec<Mount>,
    /// File systems in memory; none on the target of a volume.
    pub tmpfs: Vec<Tmpfs>,
    /// Secrets, each read at `/run/secrets/<name>`.
    pub secrets: Vec<String>,
    /// Which network the container is on.
    pub network: Network,
    /// Whether the container's root cannot be written (default false).
    pub read_only: bool,
    /// Capabilities beyond the default set.
    pub capabilities_add: Vec<Capability>,
    /// Capabilities taken from the default set; `cap-drop = ["ALL"]` is all there are.
    pub capabilities_drop: Vec<Capability>,
    /// Devices beyond the usual six.
    pub devices: Vec<Device>,
    /// Instead of the unit's name; a DNS label.
    pub hostname: Option<String>,
    /// `bus = "reader"`: the manager's D-Bus socket is in the container, with this role.
    pub host_bus: Option<Role>,
    /// `ulimits`: resource limits of the process, no kind twice.
    pub rlimits: Vec<Rlimit>,
}

/// Which network a container is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's bridge: an address of its own, names of other units, the way out.
    #[default]
    Default,
    /// Only a loopback of its own.
    None,
}

/// What a holder of the manager's D-Bus socket may do; each role includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See units.
    Reader,
    /// Also start, stop and restart units.
    Operator,
    /// Nothing more so far: the bus has no more.
    Admin,
}

impl Role {
    /// `reader`, `operator`, `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// `[resources]`: limits of the container's cgroup. `None` is no limit, except for `pids`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Most memory, at least 4 MiB.
    pub memory: Option<Bytes>,
    /// Most swap besides (the kernel's `memory.swap.max`, not docker's sum of both).
    pub memory_swap: Option<Bytes>,
    /// Processors: 0.5 is half of one. From 0.01 to 1024.
    pub cpus: Option<f64>,
    /// Most processes and threads, at least 1; the manager's default when `None`.
    pub pids: Option<u32>,
    /// Limits for block devices, no device twice.
    pub io: Vec<IoLimit>,
}

/// `[[resources.io]]`: limits for one block device; at least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoLimit {
    /// Path below `/dev`.
    pub device: String,
    /// Bytes read in a second.
    pub read_bps: Option<Bytes>,
    /// Bytes written in a second.
    pub write_bps: Option<Bytes>,
    /// Reads in a second.
    pub read_iops: Option<u64>,
    /// Writes in a second.
    pub write_iops: Option<u64>,
}

/// `[health]`: how the manager finds out whether the container does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// From one probe's end to the next one's start (default 10 s).
    pub interval: Duration,
    /// How long an answer may take (default 5 s).
    pub timeout: Duration,
    /// Failures in a row, one an interval, that make a container unhealthy (default 3, at least 1).
    pub retries: u32,
    /// Time after the start in which failures do not count (default none).
    pub start_period: Duration,
    /// Whether a new host image is kept only if this unit becomes healthy on it (default false).
    pub gate: bool,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A command in the container, healthy when it exits with 0.
    Exec(Vec<String>),
    /// `http = ":8000/healthz"`: a GET to the container, healthy when answered with 200 to 399.
    Http {
        /// Port in the container.
        port: u16,
        /// Path with its query; begins with `/`.
        path: String,
    },
    /// `tcp = 8000`: healthy when a connection is accepted.
    Tcp(u16),
}

/// `[restart]`: what happens when the process ends by itself, or its health stays bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// When it is started again.
    pub policy: RestartPolicy,
    /// The first wait (default 100 ms), doubled with each failure in a row.
    pub backoff_min: Duration,
    /// The longest wait (default 1 min), never less than the first.
    pub backoff_max: Duration,
}

/// When a process that ended, or is unhealthy, is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Always, whatever its exit code.
    #[default]
    Always,
    /// Only after a non-zero exit code, a signal, or failed health.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// `always`, `on-failure`, `never`.
    pub fn as_str(self) -> &'static str {
        match self {
            RestartPolicy::Always => "always",
            RestartPolicy::OnFailure => "on-failure",
            RestartPolicy::Never => "never",
        }
    }
}

/// `[stop]`: how a container is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The signal that asks; the image's own, else SIGTERM, when `None`.
    pub signal: Option<Signal>,
    /// How long it may take before SIGKILL (default 10 s).
    pub timeout: Duration,
}

/// `[logs]`: how much of the output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Most bytes on the disk, the oldest going first (default 16 MiB, at least 64 KiB).
    pub max_size: Bytes,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::default(),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            max_size: Bytes::mib(16),
        }
    }
}
