//! What hooks and the seccomp agent are told of a container: the OCI spec's state.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use oci_spec::runtime::{ContainerState, State, StateBuilder};

use crate::config::Bundle;
use crate::state::Record;

/// What of a container's state stays the same for as long as it exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'c> {
    version: &'c str,
    id: &'c str,
    bundle: &'c Path,
    annotations: Option<&'c HashMap<String, String>>,
}

impl<'c> Subject<'c> {
    pub(crate) fn of_bundle(bundle: &'c Bundle, id: &'c str) -> Subject<'c> {
        Subject {
            version: &bundle.version,
            id,
            bundle: &bundle.dir,
            annotations: bundle.annotations.as_ref(),
        }
    }

    pub(crate) fn of_record(record: &'c Record) -> Subject<'c> {
        Subject {
            version: &record.oci_version,
            id: &record.id,
            bundle: &record.bundle,
            annotations: record.annotations.as_ref(),
        }
    }

    pub(crate) fn bundle(&self) -> &'c Path {
        self.bundle
    }

    /// `pid` is as whoever is told sees it; a stopped container has none.
    pub(crate) fn state(&self, status: ContainerState, pid: Option<i32>) -> Result<State> {
        let mut state = StateBuilder::default()
            .version(self.version)
            .id(self.id)
            .status(status)
            .bundle(self.bundle)
            .build()?;
        state.set_pid(pid);
        state.set_annotations(self.annotations.cloned());
        Ok(state)
    }
}
