//! Moving a container's output to its unit's log.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::definitions::Definition;
use super::entry::Entry;
use super::state::State;
use crate::container::stdio;
use crate::logs::{Limits, collect};
use crate::paths::Paths;

/// How large a unit's log may grow.
pub(super) fn limits(definition: &Definition) -> Limits {
    Limits {
        total: definition.unit().logs.max_size.get(),
    }
}

impl Entry {
    /// Begins to move its container's output to the log in `dir`; `fresh` says
    /// that the container has not written before.
    pub(super) fn collect(
        &mut self,
        dir: &Path,
        fifos: [OwnedFd; 2],
        fresh: bool,
    ) -> Result<(), String> {
        let least = Limits { total: 1 << 20 };
        let limits = self.effective().map_or(least, limits);
        let (grown, dropped) = (self.grown.clone(), self.dropped.clone());
        let collector = collect(dir, fifos, limits, fresh, grown, dropped)
            .map_err(|error| format!("its log cannot be written: {error}"))?;
        self.collector = Some(collector);
        self.uncollected = None;
        Ok(())
    }

    /// Goes on moving its container's output, from the ends that PID 1 `kept`.
    pub(super) fn resume_collecting(
        &mut self,
        paths: &Paths,
        name: &str,
        kept: Option<Vec<OwnedFd>>,
    ) {
        let Some(id) = self.container.as_ref().map(|c| c.id.clone()) else {
            return;
        };
        let fifos = match kept.map(<[OwnedFd; 2]>::try_from) {
            Some(Ok(fifos)) => Ok(fifos),
            // Never kept: its making was interrupted before it could write.
            Some(Err(_)) | None => stdio::open_ends(&paths.container(&id)),
        };
        let collecting = fifos
            .map_err(|error| error.to_string())
            .and_then(|fifos| self.collect(&paths.logs(name), fifos, false));
        let Err(error) = collecting else { return };
        if !self.lacks_collector() {
            // It never wrote, or is being given back.
            tracing::debug!("{id} has no output to collect: {error}");
        } else if self.uncollected.as_ref() != Some(&error) {
            tracing::error!("the output of {id} is not collected: {error}");
            self.uncollected = Some(error);
        }
    }

    /// Whether its container may write what nobody collects.
    pub(super) fn lacks_collector(&self) -> bool {
        let process = self.container.as_ref().and_then(|c| c.phase.process());
        let may_write = match &self.machine.state {
            State::Starting { then: _ }
            | State::Running { since: _ }
            | State::Stopping {
                kill_at: _,
                next: _,
            } => true,
            // Its cleaning takes the collector away, and what is left with it.
            State::Cleaning { next: _ }
            | State::Stopped
            | State::Waiting
            | State::Backoff { until: _ }
            | State::Exited(_)
            | State::Failed
            | State::Gone => false,
        };
        may_write && process.is_some() && self.collector.is_none()
    }
}
