//! What the initramfs stage hands to the second one, as an argument of exec.

use anyhow::{Context, Result};
use orlop_handover::{PhaseTime, Slot};
use serde::{Deserialize, Serialize};

/// The first argument of the second stage.
pub(crate) const MARK: &str = "second-stage";

/// What the second stage cannot find out itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Baton {
    /// The slot that the root is in.
    pub(crate) slot: Slot,
    /// The disk that it is on, by its kernel name.
    pub(crate) disk: String,
    /// The root hash, 64 digits.
    pub(crate) root_hash: String,
    /// `CLOCK_BOOTTIME` when PID 1 began.
    pub(crate) pid1_start_ms: u64,
    /// The phases so far.
    pub(crate) phases: Vec<PhaseTime>,
}

impl Baton {
    /// `CLOCK_BOOTTIME` when the last of its phases ended.
    pub(crate) fn ended_ms(&self) -> u64 {
        let took: u64 = self.phases.iter().map(|phase| phase.ms).sum();
        self.pid1_start_ms.saturating_add(took)
    }

    pub(crate) fn to_argument(&self) -> Result<String> {
        serde_json::to_string(self).context("handing over to the second stage")
    }

    pub(crate) fn from_argument(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("second stage: the argument of the first one")
    }
}
