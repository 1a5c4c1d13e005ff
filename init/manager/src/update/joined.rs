//! What is on record of the update that is under way, as it changes: somebody else asks for it, and it
//! becomes known what is missing.

use std::io;
use std::sync::PoisonError;

use orlop_control::types::{ApiError, UpdatePlan, UpdateQuery, UpdateStatus};

use super::pending::Pending;
use super::{Updater, api_error, aside};

impl Updater {
    /// Somebody else asks for what is under way: how they ask is what counts from now on.
    pub(super) async fn join(&self, query: UpdateQuery) -> Result<UpdateStatus, ApiError> {
        if !query.dry_run {
            let asked = move |pending: Pending| {
                let changes = pending.no_reboot != query.no_reboot;
                changes.then(|| pending.asked(query.no_reboot))
            };
            let updater = self.clone();
            let put = aside(move || updater.change(asked)).await?;
            put.map_err(|error| api_error::record(&error))?;
        }
        Ok(self.status())
    }

    /// It is known what is missing: on record, that shows whether an update that is begun again and
    /// again gets on.
    pub(super) fn found(&self, plan: UpdatePlan) {
        self.0.progress.plan(plan);
        if let Err(error) = self.change(|pending| pending.found(plan.missing_size)) {
            tracing::warn!("how far the update is cannot be put on record: {error}");
        }
    }

    /// Changes what is on record, if an update is under way and `change` gives something.
    fn change(&self, change: impl FnOnce(Pending) -> Option<Pending>) -> io::Result<()> {
        // From reading it to writing it, or another change in between is undone.
        let turn = self.0.changes.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let pending = self.current().as_ref().map(|it| it.pending.clone());
        let Some(pending) = pending.and_then(change) else {
            return Ok(());
        };
        self.0.pending.again(&pending)?;
        if let Some(current) = &mut *self.current() {
            current.pending = pending;
        }
        Ok(())
    }
}
