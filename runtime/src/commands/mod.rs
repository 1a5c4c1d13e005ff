//! One file a command.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod pause;
mod privileges;
pub(crate) mod ps;
mod raise;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod update;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use orlop_sys::clone::Child;

use crate::handover::hand_over;

/// Writes a pid for whoever waits for the file: beside it first, then renamed. The file beside
/// it is always a new one, so that no link that lies there leads the pid elsewhere.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // What an earlier call left when it was killed. If it cannot go, making the file says so.
    let _ = std::fs::remove_file(&beside);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&beside)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("pid file {}", path.display()))
}

/// Gives a pidfd of the new process, which is never another's, to who listens on the socket of
/// `--pidfd-socket`. With the words of runc's: `standard` for a container's, `setns` for `exec`'s.
fn send_pidfd(socket: Option<&Path>, word: &str, child: &Child) -> Result<()> {
    socket.map_or(Ok(()), |socket| {
        hand_over(socket, word.as_bytes(), &child.pidfd)
            .with_context(|| format!("--pidfd-socket {}", socket.display()))
    })
}

/// One line on stdout, or an error where println! would panic.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("write to stdout")
}
