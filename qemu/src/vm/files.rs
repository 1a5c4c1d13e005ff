//! What `up` leaves under `target/vm` for `down` and the next `up`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::paths;

/// The guest that runs in the background, as `up` recorded it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Running {
    /// QEMU's process id.
    pub(super) pid: u32,
    /// The API's port on the loopback.
    pub(super) api_port: u16,
}

/// The certificates and client configuration.
pub(super) fn operator() -> PathBuf {
    paths::vm().join("operator")
}

/// The running guest's sockets and logs.
pub(super) fn guest() -> PathBuf {
    paths::vm().join("guest")
}

fn record() -> PathBuf {
    paths::vm().join("running.json")
}

impl Running {
    /// Records the guest, whole or not at all.
    pub(super) fn save(&self) -> Result<()> {
        let beside = record().with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(self)?)
            .and_then(|()| std::fs::rename(&beside, record()))
            .with_context(|| format!("cannot record the guest in {}", record().display()))
    }

    /// The recorded guest, if its QEMU still runs: the process of that id may be
    /// another one by now.
    pub(super) fn load() -> Result<Option<Running>> {
        let Ok(text) = std::fs::read_to_string(record()) else {
            return Ok(None);
        };
        let running: Running = serde_json::from_str(&text).with_context(|| {
            format!(
                "{0} is not a record of a guest; end its QEMU, if there is one, and delete {0}",
                record().display()
            )
        })?;
        let folder = guest().display().to_string();
        let words = std::fs::read_to_string(format!("/proc/{}/cmdline", running.pid));
        Ok(words
            .is_ok_and(|words| words.contains("qemu-system") && words.contains(&folder))
            .then_some(running))
    }

    /// Forgets the guest.
    pub(super) fn forget() {
        let _ = std::fs::remove_file(record());
    }
}
