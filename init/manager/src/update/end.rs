//! How an update ends: it is installed and the host reboots into it, or it came to nothing.

use orlop_control::types::{ApiError, ShutdownMode, UpdatePhase};

use super::error::UpdateError;
use super::failure::Failure;
use super::{Updater, aside};
use crate::trial;

impl Updater {
    /// The job has `ended`.
    pub(super) async fn ended(&self, ended: Result<Result<(), UpdateError>, ApiError>) {
        // The same bundle would come to the same.
        let is_hopeless = matches!(ended, Ok(Err(UpdateError::Wrong(_))));
        let ended = match ended {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(error) => Err(error.message),
        };
        if let Some(current) = &*self.current() {
            self.0.progress.moved(current.target.moved());
        }
        if ended.is_ok() {
            trial::show(&self.0.handle, &self.0.host, &self.0.paths).await;
        }
        // Whoever joins it has done so by now, and is heard, or begins it anew.
        let _turn = self.0.begins.lock().await;
        if let Err(reason) = ended {
            let failure = self.failure(&reason);
            if is_hopeless && let Some(version) = &failure.version {
                self.keep_off(version).await;
            }
            // First: what is given up must not be begun again.
            self.forget(Some(&failure)).await;
            *self.current() = None;
            return self.0.progress.failed(&failure);
        }
        let current = self.current().take();
        if current.is_some_and(|current| !current.pending.no_reboot) {
            return self.reboot().await;
        }
        // What was installed is not begun again.
        self.forget(None).await;
        self.0.progress.phase(UpdatePhase::Installed);
    }

    /// Reboots into what is installed. It stays on record until PID 1 has taken the reboot upon
    /// itself: a manager that is killed before that leaves it to the next one.
    pub(super) async fn reboot(&self) {
        // Never seen as installed alone: whoever follows it would take that for the end.
        self.0.progress.phase(UpdatePhase::Rebooting);
        match self.0.handle.shutdown(ShutdownMode::Reboot).await {
            Ok(()) => self.forget(None).await,
            // It goes down already, or this manager does.
            Err(error) => tracing::warn!("a reboot is refused: {error}"),
        }
    }

    /// The update that is shown, if one is under way, failed for this reason.
    pub(super) fn failure(&self, reason: &str) -> Failure {
        let status = self.status();
        let (version, source) = match status.phase.is_under_way() {
            true => (status.version.as_deref(), status.source.as_deref()),
            false => (None, None),
        };
        let version = version.filter(|version| !version.is_empty());
        tracing::warn!(
            "the update to version {} failed: {reason}",
            version.unwrap_or("unknown")
        );
        Failure::new(version, source, reason)
    }

    /// Takes the update from the record; why it came to nothing, if it did, takes its place.
    pub(super) async fn forget(&self, failure: Option<&Failure>) {
        let (files, failure) = (self.0.pending.clone(), failure.cloned());
        let forgotten = aside(move || files.forget(failure.as_ref())).await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!("the update's record cannot be changed: {error}");
        }
    }
}
