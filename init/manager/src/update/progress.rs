//! How far an update is, as it is shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use orlop_control::types::{UpdatePhase, UpdatePlan, UpdateStatus};

use super::failure::Failure;
use super::fetch::Trouble;

/// What is shown; every clone shows the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    /// Without what depends on the time.
    status: UpdateStatus,
    trouble: Option<Trouble>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is at `now`.
    pub(super) fn status(&self, now: Instant) -> UpdateStatus {
        let left = |then: Instant| {
            let left = then.saturating_duration_since(now).as_millis();
            Some(u64::try_from(left).unwrap_or(u64::MAX))
        };
        let shown = self.lock();
        let trouble = shown.trouble.as_ref();
        UpdateStatus {
            next_try_ms: trouble.and_then(|trouble| left(trouble.next)),
            gives_up_ms: trouble.and_then(|trouble| left(trouble.gives_up)),
            ..shown.status.clone()
        }
    }

    pub(super) fn current_phase(&self) -> UpdatePhase {
        self.lock().status.phase
    }

    /// No update is under way, and none was.
    pub(super) fn none(&self) {
        *self.lock() = Shown::default();
    }

    /// Another update begins.
    pub(super) fn begin(&self, version: &str, source: &str) {
        let status = UpdateStatus {
            phase: UpdatePhase::Surveying,
            version: Some(version.to_owned()),
            source: Some(source.to_owned()),
            ..UpdateStatus::default()
        };
        let trouble = None;
        *self.lock() = Shown { status, trouble };
        tracing::info!("update to version {version} from {source}");
    }

    pub(super) fn phase(&self, phase: UpdatePhase) {
        let mut shown = self.lock();
        let status = &mut shown.status;
        if status.phase != phase {
            let version = status.version.clone().unwrap_or_default();
            tracing::info!("update to version {version}: {}", phase.as_str());
        }
        status.phase = phase;
    }

    /// So many bytes were moved in all.
    pub(super) fn moved(&self, moved: u64) {
        self.lock().status.moved = moved;
    }

    pub(super) fn plan(&self, plan: UpdatePlan) {
        self.lock().status.plan = Some(plan);
    }

    /// What stands in the way at the moment.
    pub(super) fn trouble(&self, trouble: Option<Trouble>) {
        let mut shown = self.lock();
        let problem = trouble.as_ref().map(|trouble| trouble.problem.clone());
        if let Some(problem) = &problem
            && shown.status.problem.as_ref() != Some(problem)
        {
            tracing::warn!("update: {problem}; it is tried again");
        }
        shown.status.problem = problem;
        shown.trouble = trouble;
    }

    /// What came of it that is no failure, in a sentence.
    pub(super) fn remark(&self, remark: String) {
        tracing::warn!("update: {remark}");
        self.lock().status.problem = Some(remark);
    }

    /// An update came to nothing, in this boot or an earlier one.
    pub(super) fn failed(&self, failure: &Failure) {
        let mut shown = self.lock();
        let status = &mut shown.status;
        status.phase = UpdatePhase::Failed;
        status.version.clone_from(&failure.version);
        status.source.clone_from(&failure.source);
        status.problem = Some(failure.reason.clone());
        shown.trouble = None;
    }
}
