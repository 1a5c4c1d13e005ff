//! The update that is under way, on the state partition, so that it goes on after the manager was
//! killed or the machine was reset: `/var/lib/orlop/update/pending.json`, and beside it the bundle's
//! head.
//!
//! How far it is stands nowhere: what has come lies in its place in the other slot, and is found
//! there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use orlop_bundle::{Digest, Head};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::fetch::Source;
use crate::durable::{read_bounded, replace, sync_dir};

/// The format that is written, and the only one that is read: it does not outlive an update.
const FORMAT: u32 = 1;
/// Bytes of the larger file.
const FILE_MAX: usize = 9 << 20;
/// How often an update is begun without getting on: one that takes the manager or the machine with
/// it is not tried without end.
pub(super) const BEGUN_MAX: u32 = 8;
/// How often the host is rebooted into what is installed by a manager that finds it on record: a
/// machine that starts something else is not rebooted without end.
pub(super) const REBOOTS_MAX: u32 = 3;

/// Where the chunks come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(super) enum Origin {
    /// A web server.
    Web {
        /// Where on it.
        source: Source,
    },
    /// A client sends them.
    Upload,
}

impl Origin {
    /// Whether chunks come the same way, from whatever server.
    pub(super) fn is_like(&self, other: &Origin) -> bool {
        matches!(
            (self, other),
            (Origin::Web { .. }, Origin::Web { .. }) | (Origin::Upload, Origin::Upload)
        )
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    format: u32,
    pub(super) origin: Origin,
    pub(super) allow_downgrade: bool,
    pub(super) no_reboot: bool,
    /// How often it was begun since it last got on.
    pub(super) begun: u32,
    /// The least that was missing at a start, in bytes; none before that was known.
    least: Option<u64>,
    /// How often a later manager rebooted the host into it.
    #[serde(default)]
    pub(super) reboots: u32,
    /// Of the bundle's head.
    pub(super) head: Digest,
}

impl Pending {
    pub(super) fn new(
        origin: Origin,
        allow_downgrade: bool,
        no_reboot: bool,
        head: Digest,
    ) -> Self {
        Pending {
            format: FORMAT,
            origin,
            allow_downgrade,
            no_reboot,
            begun: 0,
            least: None,
            reboots: 0,
            head,
        }
    }

    /// The same, now that it is known what is missing. `None` when that changes nothing.
    pub(super) fn found(self, missing: u64) -> Option<Self> {
        let gets_on = self.least.is_some_and(|least| missing < least);
        let begun = if gets_on { 0 } else { self.begun };
        let least = Some(missing);
        (self.least.is_none() || gets_on).then_some(Pending {
            begun,
            least,
            ..self
        })
    }

    /// The same, asked for otherwise.
    pub(super) fn asked(self, no_reboot: bool) -> Self {
        Pending { no_reboot, ..self }
    }

    /// The same, for which the host was rebooted once more.
    pub(super) fn rebooted(self) -> Self {
        let reboots = self.reboots + 1;
        Pending { reboots, ..self }
    }

    /// The same, begun once more.
    pub(super) fn once_more(self) -> Self {
        let begun = self.begun + 1;
        Pending { begun, ..self }
    }
}

/// The files: these, and `last-failure.json`.
#[derive(Debug, Clone)]
pub(super) struct PendingFiles(PathBuf);

impl PendingFiles {
    /// The files in `dir`.
    pub(super) fn new(dir: PathBuf) -> PendingFiles {
        PendingFiles(dir)
    }

    fn request(&self) -> PathBuf {
        self.0.join("pending.json")
    }

    fn head(&self) -> PathBuf {
        self.0.join("pending.head")
    }

    fn last_failure(&self) -> PathBuf {
        self.0.join("last-failure.json")
    }

    /// Puts an update on record, lastingly. What failed before is not told any longer.
    ///
    /// # Errors
    /// The system's; nothing is on record then that was not before.
    pub(super) fn put(&self, pending: &Pending, head: &Head) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        replace(&self.head(), &head.encode(), true)?;
        remove(&self.last_failure())?;
        self.again(pending)
    }

    /// Why the last update came to nothing, if it did. None while another is on record.
    pub(super) fn failure(&self) -> Option<Failure> {
        let goes_on = self.request().exists();
        (!goes_on).then(|| Failure::read(&self.last_failure()))?
    }

    /// Puts it on record that an update was begun once more, or got on.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn again(&self, pending: &Pending) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(pending)?;
        replace(&self.request(), &bytes, true)
    }

    /// The update that is on record, if there is one.
    ///
    /// # Errors
    /// Why it cannot be gone on with, for a person.
    pub(super) fn get(&self) -> Result<Option<(Pending, Head)>, String> {
        let path = self.request();
        let about = |problem: String| format!("{}: {problem}", path.display());
        let bytes = match read_bounded(&path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(about(error.to_string())),
        };
        let pending: Pending =
            serde_json::from_slice(&bytes).map_err(|error| about(error.to_string()))?;
        if pending.format != FORMAT {
            let format = pending.format;
            return Err(about(format!(
                "it is of format {format}, expected {FORMAT}"
            )));
        }
        let path = self.head();
        let about = |problem: String| format!("{}: {problem}", path.display());
        let bytes = read_bounded(&path, FILE_MAX).map_err(|error| about(error.to_string()))?;
        if Digest::of(&bytes) != pending.head {
            return Err(about("it is not the one that was asked for".to_owned()));
        }
        let head = Head::read(&mut bytes.as_slice()).map_err(|error| about(error.to_string()))?;
        Ok(Some((pending, head)))
    }

    /// Takes the update from the record, lastingly; why it came to nothing, if it did, is told from
    /// then on.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn forget(&self, failure: Option<&Failure>) -> io::Result<()> {
        // A full disk keeps the reason out, and not the update in.
        let told = match failure {
            Some(failure) => failure.put(&self.last_failure()).map(|()| true),
            None => remove(&self.last_failure()),
        };
        let request = remove(&self.request())?;
        let head = remove(&self.head())?;
        if request || head || told.as_ref().is_ok_and(|changed| *changed) {
            sync_dir(&self.0)?;
        }
        told.map(drop)
    }
}

/// Whether there was such a file.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
