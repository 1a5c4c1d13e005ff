//! What happens on a host, as a stream.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{HealthState, LastExit, TrialOutcome, UnitState};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it happened, by the host's clock.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub enum EventKind {
    /// A unit entered another state or its reason changed.
    UnitState {
        /// The unit's name.
        unit: String,
        /// Its state now.
        state: UnitState,
        /// Why it is not running.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A unit's health changed.
    UnitHealth {
        /// The unit's name.
        unit: String,
        /// Its health now.
        health: HealthState,
    },
    /// A unit's container ended.
    UnitExit {
        /// The unit's name.
        unit: String,
        /// How it ended.
        exit: LastExit,
    },
    /// A unit's image name means another image than when it last began: what its
    /// containers wrote outside of volumes, over the image before, is deleted.
    UnitBeganAnew {
        /// The unit's name.
        unit: String,
        /// The image's reference.
        image: String,
    },
    /// A unit is no longer declared.
    UnitRemoved {
        /// The unit's name.
        unit: String,
    },
    /// An image came into the store.
    ImageLoaded {
        /// Its reference.
        reference: String,
    },
    /// The host image that runs is on trial, or its trial came to an end.
    Trial {
        /// Its version.
        version: String,
        /// The serial number of its installation.
        serial: u64,
        /// How the trial stands.
        outcome: TrialOutcome,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The host began to shut down.
    Shutdown {
        /// `reboot` or `poweroff`.
        mode: super::ShutdownMode,
    },
    /// Events were dropped here because this reader or the host was too slow.
    Dropped {
        /// How many at least.
        count: u64,
    },
}

/// An event with its place in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// Pass it as `cursor` to go on after this event. It grows, also across
    /// restarts of the host.
    pub cursor: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Which events to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events after this one; without it, only what happens from now on.
    pub cursor: Option<u64>,
}
