//! Why an update does not get on.

use std::io;

use orlop_bundle::BundleError;
use orlop_control::types::ApiError;
use orlop_slot::install::InstallRefusal;
use thiserror::Error;

use super::fetch::FetchError;

/// Why an update ended.
#[derive(Debug, Error)]
pub(super) enum UpdateError {
    /// Somebody gave it up, or the host goes down.
    #[error("it was given up")]
    Cancelled,
    /// Nobody sent any of it for too long.
    #[error("the client sent nothing for {0} minutes; `orlop update FILE` goes on with it")]
    Abandoned(u64),
    /// A partition of the disk, or what is done with it.
    #[error("{what} {place}: {source}")]
    Disk {
        /// What was done.
        what: &'static str,
        /// Where.
        place: String,
        /// The system's word.
        source: io::Error,
    },
    /// The slot is too small.
    #[error(
        "the slot's {what} partition has {room} bytes, and version {version} needs {needed}: expected \
         a disk that was built with larger slots (`[disk] root`)"
    )]
    SlotTooSmall {
        /// Which partition.
        what: &'static str,
        /// Its size.
        room: u64,
        /// What is needed.
        needed: u64,
        /// The version.
        version: String,
    },
    /// The boot partition has no room.
    #[error(
        "the boot partition has room for {room} bytes, and the kernel image of version {version} needs \
         {needed}: remove files from it that are not Orlop's"
    )]
    EspFull {
        /// What files may take.
        room: u64,
        /// What is needed.
        needed: u64,
        /// The version.
        version: String,
    },
    /// The bundle contradicts itself, or the disk does not keep what is written to it. The channel
    /// does not take the version again.
    #[error("{0}")]
    Wrong(String),
    /// Nothing may be installed.
    #[error(transparent)]
    Install(#[from] InstallRefusal),
    /// A chunk, or the bundle's head.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The web server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl UpdateError {
    /// For `map_err`: what was done with which place.
    pub(super) fn disk(what: &'static str, place: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_string();
        move |source| UpdateError::Disk {
            what,
            place,
            source,
        }
    }
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> ApiError {
        let message = error.to_string();
        match error {
            UpdateError::Cancelled => ApiError::conflict(message),
            UpdateError::Abandoned(_) => ApiError::new(408, "timeout", message),
            UpdateError::Disk { .. } | UpdateError::Wrong(_) => ApiError::internal(message),
            UpdateError::SlotTooSmall { .. }
            | UpdateError::EspFull { .. }
            | UpdateError::Install(_) => ApiError::conflict(message),
            UpdateError::Bundle(_) => ApiError::invalid(message),
            UpdateError::Fetch(_) => ApiError::new(502, "fetch", message),
        }
    }
}
