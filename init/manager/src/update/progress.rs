//! How far an update is, as it is shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_control::types::{UpdatePhase, UpdatePlan, UpdateStatus};

/// What is shown; every clone shows the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<UpdateStatus>>);

impl Progress {
    fn lock(&self) -> MutexGuard<'_, UpdateStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub(super) fn status(&self) -> UpdateStatus {
        self.lock().clone()
    }

    /// No update is under way, and none was.
    pub(super) fn none(&self) {
        *self.lock() = UpdateStatus::default();
    }

    /// Another update begins.
    pub(super) fn begin(&self, version: &str, source: &str) {
        *self.lock() = UpdateStatus {
            phase: UpdatePhase::Surveying,
            version: Some(version.to_owned()),
            source: Some(source.to_owned()),
            ..UpdateStatus::default()
        };
        tracing::info!("update to version {version} from {source}");
    }

    pub(super) fn phase(&self, phase: UpdatePhase) {
        let mut status = self.lock();
        if status.phase != phase {
            let version = status.version.clone().unwrap_or_default();
            tracing::info!("update to version {version}: {}", phase.as_str());
        }
        status.phase = phase;
    }

    /// So many bytes were moved in all.
    pub(super) fn moved(&self, moved: u64) {
        self.lock().moved = moved;
    }

    pub(super) fn plan(&self, plan: UpdatePlan) {
        self.lock().plan = Some(plan);
    }

    /// What stands in the way at the moment.
    pub(super) fn problem(&self, problem: Option<String>) {
        let mut status = self.lock();
        if let Some(problem) = &problem
            && status.problem.as_ref() != Some(problem)
        {
            tracing::warn!("update: {problem}; it is tried again");
        }
        status.problem = problem;
    }

    /// What it has installed is given up for this reason, and was not started.
    pub(super) fn called_off(&self, version: &str, reason: &str) {
        self.lock().version = Some(version.to_owned());
        self.failed(reason);
    }

    /// It ended for this reason.
    pub(super) fn failed(&self, reason: &str) {
        let mut status = self.lock();
        let version = status.version.clone().unwrap_or_default();
        tracing::warn!("the update to version {version} failed: {reason}");
        status.phase = UpdatePhase::Failed;
        status.problem = Some(reason.to_owned());
    }
}
