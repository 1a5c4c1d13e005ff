//! What the next manager has to know of a unit: one small file each on /run.
//!
//! It is replaced before anything that it announces is done. /run is in
//! memory: a record lasts as long as the container that it is about.

use std::collections::BTreeMap;
use std::io::Result;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exits::Recorded;
use super::fileless::Fileless;
use super::state::Machine;

/// How far the making of a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum Phase {
    /// It is being made: nothing of the image has run.
    Creating,
    /// Its process is there and may have been let go.
    #[serde(rename_all = "camelCase")]
    Starting {
        /// The process.
        pid: i32,
        /// Its start, in clock ticks.
        start_time: u64,
    },
    /// It runs.
    #[serde(rename_all = "camelCase")]
    Running {
        /// The process.
        pid: i32,
        /// Its start, in clock ticks.
        start_time: u64,
        /// Milliseconds since 1970.
        started_at_ms: i64,
    },
}

impl Phase {
    /// The process and its start, once there is one.
    pub fn process(self) -> Option<(i32, u64)> {
        match self {
            Phase::Creating => None,
            Phase::Starting { pid, start_time }
            | Phase::Running {
                pid,
                start_time,
                started_at_ms: _,
            } => Some((pid, start_time)),
        }
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub phase: Phase,
    /// The image's stop signal, if it names one.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// The image's id.
    #[serde(default)]
    pub image_id: String,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its state.
    pub machine: Machine,
    /// Its container.
    #[serde(default)]
    pub container: Option<Container>,
    /// The text of the file that its container was made from.
    #[serde(default)]
    pub text: Option<String>,
    /// Where that text came from.
    #[serde(default)]
    pub source: String,
    /// Its file is gone.
    #[serde(default)]
    pub fileless: Option<Fileless>,
    /// Why it last failed to start.
    #[serde(default)]
    pub problem: Option<String>,
    /// Its containers' exits that are not on the lasting record yet: the disk
    /// may be full, and nothing else tells whose they were.
    #[serde(default)]
    pub unrecorded: Vec<Recorded>,
}

fn file(dir: &Path, unit: &str) -> PathBuf {
    dir.join(format!("{unit}.json"))
}

/// Puts a unit on record.
pub fn save(dir: &Path, unit: &str, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record)?;
    crate::durable::replace(&file(dir, unit), &bytes, false)
}

/// Takes a unit off the record.
pub fn forget(dir: &Path, unit: &str) {
    let _ = std::fs::remove_file(file(dir, unit));
}

/// All units on record.
pub fn load(dir: &Path) -> Result<BTreeMap<String, Record>> {
    std::fs::create_dir_all(dir)?;
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(unit) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        let bytes = std::fs::read(dir.join(&name))?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => {
                records.insert(unit.to_owned(), record);
            }
            // Written whole or not at all, so another version's: its
            // containers are found in their directory.
            Err(error) => tracing::warn!("the record of {unit} cannot be read: {error}"),
        }
    }
    Ok(records)
}
