//! Updating the host image: what is asked for, and how far it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::flag::flag;

/// Updates from what a web server has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateRequest {
    /// `http://` or `https://`: a bundle (`….orlop`), the head of a published version (`….head`), or
    /// the directory that `orlop-image publish` fills, of which the newest version is taken. None:
    /// the host's own channel, `[update] url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// How an update is made.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams,
)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct UpdateQuery {
    /// Take an older version, or the same one, too.
    #[serde(deserialize_with = "flag")]
    pub allow_downgrade: bool,
    /// Leave it to somebody else to reboot.
    #[serde(deserialize_with = "flag")]
    pub no_reboot: bool,
    /// Only say what would be moved.
    #[serde(deserialize_with = "flag")]
    pub dry_run: bool,
}

/// How far an update is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum UpdatePhase {
    /// None is under way.
    #[default]
    Idle,
    /// It is looked for what is there already.
    Surveying,
    /// The host fetches what it lacks.
    Fetching,
    /// The client is to send what the host lacks.
    Receiving,
    /// Root and hash tree are flushed and read back.
    Verifying,
    /// The boot partition is written.
    Installing,
    /// It starts at the next boot, on trial.
    Installed,
    /// The host reboots into it.
    Rebooting,
    /// It was given up; `problem` says why.
    Failed,
}

impl UpdatePhase {
    /// Whether an update is under way.
    pub fn is_under_way(self) -> bool {
        match self {
            UpdatePhase::Surveying
            | UpdatePhase::Fetching
            | UpdatePhase::Receiving
            | UpdatePhase::Verifying
            | UpdatePhase::Installing => true,
            UpdatePhase::Idle
            | UpdatePhase::Installed
            | UpdatePhase::Rebooting
            | UpdatePhase::Failed => false,
        }
    }

    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            UpdatePhase::Idle => "idle",
            UpdatePhase::Surveying => "looking for what is there",
            UpdatePhase::Fetching => "fetching",
            UpdatePhase::Receiving => "receiving",
            UpdatePhase::Verifying => "verifying",
            UpdatePhase::Installing => "installing",
            UpdatePhase::Installed => "installed, starts at the next boot",
            UpdatePhase::Rebooting => "rebooting",
            UpdatePhase::Failed => "failed",
        }
    }
}

/// What an update moves. All sizes are in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdatePlan {
    /// Root and unified kernel image.
    pub size: u64,
    /// The chunks that these are cut into.
    pub chunks: u64,
    /// Of these, the ones that the host has to be given.
    pub missing_chunks: u64,
    /// Their size, compressed: what is moved.
    pub missing_size: u64,
}

/// The host's channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelStatus {
    /// Where it looks for new versions.
    pub url: String,
    /// What it does with one: `auto`, `download` or `never`.
    pub apply: String,
    /// When it last looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Timestamp>,
    /// In how many milliseconds it looks again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// What it found then, in a sentence.
    pub found: String,
}

/// How the last update is, or was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStatus {
    /// How far it is.
    pub phase: UpdatePhase,
    /// The version that it is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where that comes from: a URL, or `upload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it moves, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<UpdatePlan>,
    /// How many bytes of the plan's `missingSize` have been moved.
    pub moved: u64,
    /// Why it failed, or why it does not get on, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// In how many milliseconds the server is asked again, while the problem is the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_ms: Option<u64>,
    /// In how many milliseconds the update is given up, if nothing of it comes until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives_up_ms: Option<u64>,
    /// The host's channel, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelStatus>,
}

/// The chunks that a client is to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MissingChunks {
    /// Their numbers in the bundle's index, in order.
    pub chunks: Vec<u32>,
}

/// The most bytes of one request with chunks.
///
/// Its body is a sequence of chunks, each as its number in the bundle's index (u32), the bytes that
/// it takes compressed (u32), and these; numbers are little-endian.
pub const CHUNKS_SIZE_MAX: usize = 1 << 20;

/// The error's code when chunks are asked for or sent while none are received (409).
pub const NOT_RECEIVING: &str = "notReceiving";
