//! The host as a whole.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FailedUpdate, TrialStatus};

/// How a host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostStatus {
    /// The host's name.
    pub name: String,
    /// The version of the host image that runs.
    pub version: String,
    /// The slot it runs from, `a` or `b`.
    pub slot: String,
    /// The serial number of its installation.
    pub serial: u64,
    /// The state partition: `ok`, `repaired` or `tmpfs` (nothing lasts).
    pub state: String,
    /// What happened to the state partition, and what to do; empty when well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state_detail: String,
    /// The state partition's size in bytes.
    pub state_size: u64,
    /// Of these, how many are free.
    pub state_free: u64,
    /// `hardware:<identity>`, `softdog` or `none`.
    pub watchdog: String,
    /// Milliseconds since the kernel started, suspended time included.
    pub uptime_ms: u64,
    /// The host's clock.
    pub time: Timestamp,
    /// The addresses of its uplinks.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Its uplinks.
    pub uplinks: Vec<UplinkStatus>,
    /// How many units are in which state.
    pub units: UnitCounts,
    /// 32 hex digits, made at the first boot; empty when they could not be kept.
    pub machine_id: String,
    /// From the kernel: another one at each boot.
    pub boot_id: String,
    /// `SHA256:<hex>` of the host's own certificate; none without a TCP listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
    /// While the host image that runs is on trial: how that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// The last host image that was given up, until another passes its trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_update: Option<FailedUpdate>,
    /// When PID 1 began, in milliseconds after the kernel started.
    pub pid1_start_ms: u64,
    /// When the manager was first started, by the same clock.
    pub manager_start_ms: u64,
    /// The boot, phase by phase.
    pub boot_phases: Vec<BootPhase>,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture, in OCI's words (`amd64`).
    pub architecture: String,
    /// Processors that are online.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory in bytes that could be had without swapping.
    pub memory_available: u64,
    /// Memory in bytes that is in use, caches not counted; files in memory
    /// (tmpfs) are.
    pub memory_used: u64,
}

/// One uplink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UplinkStatus {
    /// The interface's name.
    pub name: String,
    /// Its addresses with prefix length, such as `192.0.2.10/24`.
    pub addresses: Vec<String>,
    /// The default gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<IpAddr>,
    /// The name servers it gave.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<IpAddr>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How many units are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitCounts {
    /// All of them.
    pub total: u32,
    /// Running ones.
    pub running: u32,
    /// Those that run, but not in good health.
    pub unhealthy: u32,
    /// Those that wait, start, stop or back off.
    pub changing: u32,
    /// Those that have failed.
    pub failed: u32,
    /// Those whose file is rejected.
    pub rejected: u32,
    /// Those that are stopped or have exited as they should.
    pub stopped: u32,
}

/// One phase of the boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootPhase {
    /// Its name.
    pub name: String,
    /// When it ended, in milliseconds after PID 1 began.
    pub ms: u64,
}

/// What answers: the manager and the host image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// The manager's version.
    pub manager: String,
    /// The version of the host image.
    pub host: String,
    /// The API's version: the first part of its paths.
    pub api: String,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture, in OCI's words (`amd64`).
    pub architecture: String,
}

/// What a host does after it has stopped its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ShutdownMode {
    /// Start again.
    Reboot,
    /// Power off.
    PowerOff,
}
