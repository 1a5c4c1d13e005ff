//! The processes of a host, and what they cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The processes that run on a host. Kernel threads are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessList {
    /// By process id.
    pub processes: Vec<ProcessStatus>,
    /// How many more there are than one answer holds.
    pub dropped: u32,
}

/// One process. Its arguments are left out: they may hold secrets, and readers
/// may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessStatus {
    /// Its id, as the host numbers it.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// What it calls itself: 15 bytes at most.
    pub name: String,
    /// The unit whose container it is in; none for the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When it was made, in milliseconds after the kernel started.
    pub started_ms: u64,
    /// The processor time that it has used, in milliseconds.
    pub cpu_ms: u64,
    /// Its memory in bytes, pages shared with others counted by their share
    /// (PSS); none when the kernel does not say, as of a process that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}
