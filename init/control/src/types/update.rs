//! Installs of the host image: which there are, which is on trial, which failed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An installed host image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstalledVersion {
    /// The serial number of its installation.
    pub serial: u64,
    /// Its version.
    pub version: String,
    /// The slot that it leads to, `a` or `b`; none when it leads nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// It is the one that runs.
    pub running: bool,
    /// How it is.
    pub state: VersionState,
    /// How often the boot loader will still try it, while it is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// Its file on the EFI system partition.
    pub file: String,
}

/// How an installed host image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum VersionState {
    /// It was found good.
    Good,
    /// It is being tried, or is to be.
    Trial,
    /// It was given up: it is started only when there is nothing else.
    Failed,
    /// Its file leads to no root.
    Broken,
}

impl VersionState {
    /// The word that tables show.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionState::Good => "good",
            VersionState::Trial => "on trial",
            VersionState::Failed => "failed",
            VersionState::Broken => "broken",
        }
    }
}

/// How the trial of a host image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum TrialOutcome {
    /// It has begun, or goes on with another manager.
    Begun,
    /// The image is good.
    Passed,
    /// The image is given up.
    Failed,
}

/// A trial of the host image that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialStatus {
    /// By when it is decided, in milliseconds after the kernel started.
    pub deadline_ms: u64,
    /// What it still waits for: units, and why.
    pub waits_for: Vec<String>,
}

/// A host image that was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailedUpdate {
    /// Its version.
    pub version: String,
    /// The serial number of its installation.
    pub serial: u64,
    /// Why, in a sentence.
    pub reason: String,
    /// When that was found, by the host's clock.
    pub at: Timestamp,
    /// The boot in which it was found.
    pub boot_id: String,
    /// The units that were to blame, the first few of them.
    pub units: Vec<FailedUnit>,
}

/// A unit that was to blame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FailedUnit {
    /// Its name.
    pub unit: String,
    /// What was wrong with it.
    pub reason: String,
    /// The last lines that it wrote, each cut to a bounded length.
    pub log: Vec<String>,
}
