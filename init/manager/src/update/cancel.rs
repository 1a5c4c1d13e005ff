//! Giving an update up: while it is under way, before it is gone on with, and once it is installed
//! but for the boot.

use orlop_control::types::{ApiError, UpdatePhase, UpdateStatus};
use orlop_slot::trial::{fallback, reject, waiting};

use super::error::UpdateError;
use super::failure::Failure;
use super::{Updater, aside};
use crate::trial;

impl Updater {
    /// Gives up the update that is under way, or is to go on; what has come of it stays, and is found
    /// by the next one. One that is installed and waits for a boot is not started.
    ///
    /// # Errors
    /// There is none, or it is being installed, or the host reboots into it; no other version is
    /// known to be good; the boot partition cannot be changed.
    pub async fn cancel(&self) -> Result<UpdateStatus, ApiError> {
        let mut current = self.current().clone();
        let mut turn = None;
        if current.is_none() {
            // What is to be gone on with may be under way by the time that this has its turn.
            turn = Some(self.0.begins.lock().await);
            current = self.current().clone();
        }
        let phase = self.0.progress.current_phase();
        let cancelled = UpdateError::Cancelled.to_string();
        match current {
            Some(_) if phase == UpdatePhase::Installing => {
                return Err(
                    ApiError::conflict("it is being installed, which takes a moment")
                        .with_help("`orlop rollback` goes back to the version that runs now"),
                );
            }
            Some(current) => {
                self.keep_off(&current.target.head().manifest().version)
                    .await;
                current.stop.stop();
                current.http.shutdown();
            }
            None if phase.is_under_way() => {
                // It waits to be gone on with, which may be a boot alone.
                if self.call_off().await?.is_none()
                    && let Some(version) = self.status().version
                {
                    self.keep_off(&version).await;
                }
                let failure = self.failure(&cancelled);
                self.forget(Some(&failure)).await;
                self.0.progress.failed(&failure);
            }
            None if phase == UpdatePhase::Rebooting => {
                return Err(ApiError::conflict("the host reboots into it")
                    .with_help("`orlop rollback` goes back once it runs"));
            }
            None => match self.call_off().await? {
                Some(version) => {
                    let failure = Failure::new(Some(&version), None, &cancelled);
                    self.forget(Some(&failure)).await;
                    self.0.progress.failed(&failure);
                }
                None => return Err(ApiError::conflict("no update is under way")),
            },
        }
        drop(turn);
        Ok(self.status())
    }

    /// Gives up the version that the next boot is to start, and gives its name: the one that runs is
    /// started again. `None` when no other one waits.
    async fn call_off(&self) -> Result<Option<String>, ApiError> {
        let Ok((disks, running)) = self.0.disks.as_ref() else {
            return Ok(None);
        };
        let listing = disks.esp.list_once_there().await;
        let files = listing.map_err(|error| unwritten(&error))?.files;
        let record = disks.records.trial().unwrap_or_default();
        let Some(waits) = running
            .serial(record.as_ref())
            .and_then(|serial| waiting(serial, &files))
        else {
            return Ok(None);
        };
        if fallback(waits.serial, &files).is_none() {
            let version = waits.version;
            return Err(ApiError::conflict(format!(
                "version {version} waits for its first boot, and no other one is known to be good"
            )));
        }
        self.keep_off(&waits.version).await;
        for rename in reject(waits.serial, running, &files) {
            let renamed = disks.esp.aside(move |esp| esp.rename(&rename)).await;
            renamed.map_err(|error| unwritten(&error))?;
        }
        trial::show(&self.0.handle, &self.0.host, &self.0.paths).await;
        Ok(Some(waits.version))
    }

    /// Keeps a version that was given up from coming back by the channel; who asks for it gets it. It
    /// stays so when its entry gives way to another.
    pub(super) async fn keep_off(&self, version: &str) {
        let Ok((disks, _)) = self.0.disks.as_ref() else {
            return;
        };
        let (records, given_up) = (disks.records.clone(), version.to_owned());
        let put = aside(move || records.give_up(&given_up)).await;
        // It is given up in any case.
        if let Ok(Err(error)) = put {
            tracing::warn!(
                "that version {version} was given up cannot be put on record, and the channel may bring \
                 it back: {error}"
            );
        }
    }
}

fn unwritten(error: &impl std::fmt::Display) -> ApiError {
    ApiError::unavailable(format!("the boot partition cannot be changed: {error}"))
}
