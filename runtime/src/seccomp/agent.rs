//! The seccomp agent: whoever answers for system calls with the action SCMP_ACT_NOTIFY.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{ContainerProcessStateBuilder, LinuxSeccomp, SECCOMP_FD_NAME, State};

use crate::handover::hand_over;

/// Where the agent is, and what it is told beside the container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    path: PathBuf,
    metadata: Option<String>,
}

impl Agent {
    /// The agent of a profile that has calls for one to answer.
    pub(super) fn new(profile: &LinuxSeccomp) -> Result<Agent> {
        let path = profile.listener_path().as_deref();
        let path = path.filter(|path| *path != Path::new(""));
        let path = path.context("SCMP_ACT_NOTIFY needs a listenerPath: nobody would answer")?;
        ensure!(
            path.is_absolute(),
            "listenerPath {}: not an absolute path",
            path.display()
        );
        Ok(Agent {
            path: path.to_owned(),
            metadata: profile.listener_metadata().clone(),
        })
    }

    /// Gives the agent the listener of the process `pid`, over a connection made for it.
    pub(crate) fn hand_over(&self, listener: &OwnedFd, pid: i32, state: State) -> Result<()> {
        let mut told = ContainerProcessStateBuilder::default()
            .version(state.version().as_str())
            .fds([SECCOMP_FD_NAME.to_owned()])
            .pid(pid)
            .state(state)
            .build()?;
        told.set_metadata(self.metadata.clone());
        let text = serde_json::to_vec(&told)?;
        hand_over(&self.path, &text, listener)
            .with_context(|| format!("seccomp listenerPath {}", self.path.display()))
    }
}
