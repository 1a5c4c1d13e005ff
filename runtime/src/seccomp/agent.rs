//! The seccomp agent: whoever answers for system calls with the action SCMP_ACT_NOTIFY.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{ContainerProcessStateBuilder, LinuxSeccomp, SECCOMP_FD_NAME, State};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

/// How long the agent may take to accept a connection or to read.
const READY_WITHIN: Duration = Duration::from_secs(10);

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
        self.connect()
            .and_then(|socket| send(&socket, &text, listener))
            .with_context(|| format!("seccomp listenerPath {}", self.path.display()))
    }

    fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let address = SocketAddrUnix::new(&self.path)?;
        let kind = SocketType::STREAM;
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(READY_WITHIN))?;
        rustix::io::retry_on_intr(|| connect(&socket, &address))?;
        Ok(socket)
    }
}

/// The descriptor goes with the first bytes.
fn send(socket: &OwnedFd, text: &[u8], fd: &OwnedFd) -> rustix::io::Result<()> {
    let mut left = text;
    while !left.is_empty() {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if left.len() == text.len() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let slices = [IoSlice::new(left)];
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        left = &left[sent..];
    }
    Ok(())
}
