//! A call of the runtime that stays with its command until that ends.

use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use orlop_control::types::ApiError;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

/// How often to look whether a command runs.
const START_PAUSE: Duration = Duration::from_millis(10);

/// A call of `orlop-runtime exec` that is being put together.
pub(crate) struct Call {
    /// The call, up to the options of `exec`.
    pub(crate) command: Command,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Call {
    /// The runtime's binary and `--root`, and a directory for its files.
    pub(crate) fn new(runtime: &Path, root: &Path, scratch: &Path) -> Call {
        let name = format!("exec-{}", crate::container::id::random());
        let log = scratch.join(format!("{name}.log"));
        let pid_file = scratch.join(format!("{name}.pid"));
        let mut command = Command::new(runtime);
        command.arg("--root").arg(root);
        command
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        command.arg("exec").arg("--pid-file").arg(&pid_file);
        Call {
            command,
            log,
            pid_file,
        }
    }

    pub(crate) fn spawn(mut self) -> Result<Attached> {
        let child = self.command.spawn()?;
        let hold = Hold {
            log: self.log,
            pid_file: self.pid_file,
            runtime: child.id().and_then(pid),
        };
        Ok(Attached { hold, child })
    }
}

/// A running call. Dropping it before its end kills the command.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Dropped first, while the runtime's process cannot be another one.
    hold: Hold,
    pub(crate) child: Child,
}

impl Attached {
    /// Waits until the command runs; the error says why it does not.
    pub(crate) async fn started(&mut self) -> std::result::Result<(), ApiError> {
        loop {
            let failed =
                |error| ApiError::internal(format!("cannot wait for the runtime: {error}"));
            // Before the file, which is written before the end.
            let ended = self.child.try_wait().map_err(failed)?;
            if ended.is_some() {
                self.hold.runtime = None;
            }
            if self.hold.pid_file.exists() {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(refusal(status, &self.hold.said()));
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// Waits for the command's end.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.hold.runtime = None;
        Ok(status)
    }

    /// The runtime's process, for whoever ends it in another way.
    pub(crate) fn let_go(self) -> Child {
        let Attached { mut hold, child } = self;
        hold.runtime = None;
        child
    }
}

/// What a call has on the host besides its process.
#[derive(Debug)]
struct Hold {
    log: PathBuf,
    pid_file: PathBuf,
    /// The runtime's process, until it has ended.
    runtime: Option<Pid>,
}

impl Hold {
    /// The runtime's last error.
    fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = log.lines().last().unwrap_or_default();
        let line: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let said = line.as_ref().and_then(|line| line["msg"].as_str());
        said.unwrap_or("the runtime says nothing").to_owned()
    }

    /// Kills the command with those it has started, and the runtime, from which
    /// a signal that cannot be caught would not reach the command.
    fn kill(&self, runtime: Pid) {
        let text = std::fs::read_to_string(&self.pid_file).unwrap_or_default();
        if let Some(command) = text.trim().parse().ok().and_then(pid) {
            // It leads a group of its own. Errors: it ended by itself.
            let _ = kill_process_group(command, Signal::KILL);
        }
        let _ = kill_process(runtime, Signal::KILL);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime {
            self.kill(runtime);
        }
        let _ = std::fs::remove_file(&self.log);
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// The id of a process; that of PID 1 is none, and as a group means all.
fn pid(id: u32) -> Option<Pid> {
    let id = i32::try_from(id).ok().filter(|&id| id > 1)?;
    Pid::from_raw(id)
}

/// Why a command does not run. The runtime says it as shells do.
fn refusal(status: ExitStatus, said: &str) -> ApiError {
    match status.code() {
        Some(127) => ApiError::new(404, "commandNotFound", said),
        Some(126) => ApiError::new(409, "commandNotExecutable", said),
        _ => ApiError::conflict(format!("the command did not start ({status}): {said}")),
    }
}
