//! Giving an update up while it is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::UpdateError;

/// Asked by whoever works on an update; every clone is the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Everybody is to stop.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`UpdateError::Cancelled`] once it is to stop.
    pub(super) fn check(&self) -> Result<(), UpdateError> {
        match self.stopped() {
            true => Err(UpdateError::Cancelled),
            false => Ok(()),
        }
    }
}
