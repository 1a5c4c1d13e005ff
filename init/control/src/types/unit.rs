//! A unit, and how it is.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Diagnostic;

/// How a unit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Its file's description; may be empty.
    #[serde(default)]
    pub description: String,
    /// What it is to be.
    pub desired: Desired,
    /// What it is.
    pub state: UnitState,
    /// Its health, when it runs and has a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// Why it is not running, or not healthy; always set when it is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Findings in its file. With some, the last good file (if any) still runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// The image its file names.
    #[serde(default)]
    pub image: String,
    /// The container's first process, as the host numbers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Its address on the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// The ports it publishes.
    #[serde(default)]
    pub ports: Vec<PortStatus>,
    /// Since when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How often it was started again without being asked, since it was declared
    /// or asked to start.
    #[serde(default)]
    pub restarts: u32,
    /// When it will be tried again, while it backs off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How its container last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Its file says that it starts with the host.
    #[serde(default)]
    pub enabled: bool,
    /// Its file on the host.
    #[serde(default)]
    pub source: String,
}

impl UnitStatus {
    /// Whether it is what it should be.
    pub fn is_well(&self) -> bool {
        let state = match (self.desired, self.state) {
            (Desired::Started, UnitState::Running | UnitState::Exited)
            | (Desired::Stopped, UnitState::Stopped | UnitState::Exited) => true,
            (
                Desired::Started,
                UnitState::Stopped
                | UnitState::Waiting
                | UnitState::Starting
                | UnitState::Stopping
                | UnitState::Backoff
                | UnitState::Failed
                | UnitState::Rejected,
            )
            | (
                Desired::Stopped,
                UnitState::Waiting
                | UnitState::Starting
                | UnitState::Running
                | UnitState::Stopping
                | UnitState::Backoff
                | UnitState::Failed
                | UnitState::Rejected,
            ) => false,
        };
        state && self.health != Some(HealthState::Unhealthy) && self.diagnostics.is_empty()
    }
}

/// What a unit is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Desired {
    /// Running.
    Started,
    /// Not running.
    Stopped,
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnitState {
    /// Not running, and not wanted to.
    Stopped,
    /// Wanted, but a unit that it requires is not ready.
    Waiting,
    /// Its container is being made and started.
    Starting,
    /// Its container runs.
    Running,
    /// Its container was told to end.
    Stopping,
    /// It ended and will be tried again after a pause.
    Backoff,
    /// It ended with success and its restart policy leaves it at that.
    Exited,
    /// It could not be started, or ended badly and its restart policy leaves it
    /// at that.
    Failed,
    /// Its file has errors, and no good one was there before.
    Rejected,
}

impl UnitState {
    /// The word that tables show, the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            UnitState::Stopped => "stopped",
            UnitState::Waiting => "waiting",
            UnitState::Starting => "starting",
            UnitState::Running => "running",
            UnitState::Stopping => "stopping",
            UnitState::Backoff => "backoff",
            UnitState::Exited => "exited",
            UnitState::Failed => "failed",
            UnitState::Rejected => "rejected",
        }
    }
}

impl std::fmt::Display for UnitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a unit's probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum HealthState {
    /// It has not succeeded yet, and may take its time.
    Starting,
    /// It succeeds.
    Healthy,
    /// It failed too often in a row.
    Unhealthy,
}

impl HealthState {
    /// The word that tables show, the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// Its exit code, when it exited by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The number of the signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel killed it because its memory limit was reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// When.
    pub at: Timestamp,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// The host's address it is published on; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<Ipv4Addr>,
    /// The host's port.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A port's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for PortStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(f, "{ip}:")?;
        }
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{}->{}/{protocol}", self.host, self.container)
    }
}
