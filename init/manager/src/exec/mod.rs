//! Commands in a running container, for operators.
//!
//! The session holds `orlop-runtime exec` in the foreground, which passes the
//! command's exit status on. It knows nothing of the transport that the bytes
//! travel over.

mod console;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use orlop_control::types::{ApiError, ExecRequest, ExitStatus};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};

use console::ConsoleSocket;

/// Longest command line and environment together, in bytes.
const ARGUMENTS_MAX: usize = 128 * 1024;

/// How long the runtime may take until the terminal is there.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a command would run.
#[derive(Debug, Clone)]
pub struct ExecTarget {
    /// The runtime's binary.
    pub runtime: PathBuf,
    /// The runtime's `--root`.
    pub runtime_root: PathBuf,
    /// The container's id.
    pub container_id: String,
    /// The container's root, to look user names up in.
    pub rootfs: PathBuf,
    /// A directory for the console's socket.
    pub scratch: PathBuf,
}

/// A command that runs in a container. Dropping it hangs the command up.
#[derive(Debug)]
pub struct ExecSession {
    /// Where to write what the command reads, when that was asked for.
    pub stdin: Option<OwnedFd>,
    /// Where to read its output from; none with a terminal.
    pub stdout: Option<OwnedFd>,
    /// Where to read its errors from; none with a terminal.
    pub stderr: Option<OwnedFd>,
    /// The terminal's controlling end, read and written, when one was asked for.
    pub pty: Option<OwnedFd>,
    child: Child,
    ended: bool,
}

impl ExecSession {
    /// Gives the terminal another size; without a terminal it does nothing.
    pub fn resize(&self, rows: u16, cols: u16) -> Result<(), ApiError> {
        match &self.pty {
            Some(pty) => set_size(pty, rows, cols),
            None => Ok(()),
        }
    }

    /// Waits until the command has ended. It may be called again after it was
    /// cancelled.
    pub async fn wait(&mut self) -> Result<ExitStatus, ApiError> {
        use std::os::unix::process::ExitStatusExt;
        let status =
            self.child.wait().await.map_err(|error| {
                ApiError::internal(format!("cannot wait for the command: {error}"))
            })?;
        self.ended = true;
        Ok(match (status.code(), status.signal()) {
            // The runtime says 128 + n for a command that signal n killed, as
            // shells do.
            (Some(code), _) => ExitStatus {
                code: Some(code),
                signal: None,
            },
            (None, signal) => ExitStatus { code: None, signal },
        })
    }
}

impl Drop for ExecSession {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // The runtime passes the signal on. It cannot be another process:
            // the child has not been waited for.
            let _ = rustix::process::kill_process(pid, Signal::HUP);
        }
    }
}

fn set_size(pty: &OwnedFd, rows: u16, cols: u16) -> Result<(), ApiError> {
    let size = Winsize {
        ws_row: if rows == 0 { 24 } else { rows },
        ws_col: if cols == 0 { 80 } else { cols },
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(pty.as_fd(), size)
        .map_err(|error| ApiError::internal(format!("cannot resize the terminal: {error}")))
}

fn check(request: &ExecRequest) -> Result<(), ApiError> {
    if request.command.is_empty() {
        return Err(ApiError::invalid("no command given"));
    }
    let bytes: usize = request
        .command
        .iter()
        .chain(&request.env)
        .map(String::len)
        .sum();
    if bytes > ARGUMENTS_MAX {
        return Err(ApiError::invalid(format!(
            "command and environment have {bytes} bytes; the limit is {ARGUMENTS_MAX}"
        )));
    }
    let mut texts = request.command.iter().chain(&request.env);
    if texts.any(|text| text.contains('\0')) {
        return Err(ApiError::invalid(
            "a NUL byte in the command or environment",
        ));
    }
    match request.env.iter().find(|entry| !entry.contains('=')) {
        Some(entry) => Err(ApiError::invalid(format!(
            "environment entry {entry:?} is not NAME=value"
        ))),
        None => Ok(()),
    }
}

/// Starts a command; returns once it runs or has been refused.
pub async fn start(target: ExecTarget, request: ExecRequest) -> Result<ExecSession, ApiError> {
    check(&request)?;
    let user = match &request.user {
        Some(user) => Some(
            crate::container::user::resolve(&target.rootfs, user).map_err(|error| {
                ApiError::invalid(format!("cannot resolve the user {user:?}: {error}"))
            })?,
        ),
        None => None,
    };
    let log = target
        .scratch
        .join(format!("exec-{}.log", crate::container::id::random()));
    let mut command = Command::new(&target.runtime);
    command.arg("--root").arg(&target.runtime_root);
    command.arg("--log").arg(&log).arg("exec");
    if let Some(user) = &user {
        command
            .arg("--user")
            .arg(format!("{}:{}", user.uid, user.gid));
    }
    if let Some(cwd) = &request.cwd {
        command.arg("--cwd").arg(cwd);
    }
    for entry in &request.env {
        command.arg("--env").arg(entry);
    }
    let session = if request.tty {
        with_terminal(command, &target, &request, &log).await
    } else {
        with_pipes(command, &target, &request, &log)
    };
    let _ = std::fs::remove_file(&log);
    session
}

fn finish(command: &mut Command, target: &ExecTarget, request: &ExecRequest) {
    command
        .arg("--")
        .arg(&target.container_id)
        .args(&request.command);
}

fn spawn(command: &mut Command) -> Result<Child, ApiError> {
    command
        .spawn()
        .map_err(|error| ApiError::internal(format!("cannot run the runtime: {error}")))
}

fn with_pipes(
    mut command: Command,
    target: &ExecTarget,
    request: &ExecRequest,
    _log: &Path,
) -> Result<ExecSession, ApiError> {
    finish(&mut command, target, request);
    command.stdin(if request.stdin {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let pipe = |error: std::io::Error| ApiError::internal(format!("cannot keep a pipe: {error}"));
    let stdin = match child.stdin.take() {
        Some(end) => Some(end.into_owned_fd().map_err(pipe)?),
        None => None,
    };
    let stdout = match child.stdout.take() {
        Some(end) => Some(end.into_owned_fd().map_err(pipe)?),
        None => None,
    };
    let stderr = match child.stderr.take() {
        Some(end) => Some(end.into_owned_fd().map_err(pipe)?),
        None => None,
    };
    Ok(ExecSession {
        stdin,
        stdout,
        stderr,
        pty: None,
        child,
        ended: false,
    })
}

async fn with_terminal(
    mut command: Command,
    target: &ExecTarget,
    request: &ExecRequest,
    log: &Path,
) -> Result<ExecSession, ApiError> {
    let socket = ConsoleSocket::bind(&target.scratch)
        .map_err(|error| ApiError::internal(format!("cannot make the console socket: {error}")))?;
    command
        .arg("--tty")
        .arg("--console-socket")
        .arg(socket.path());
    finish(&mut command, target, request);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = spawn(&mut command)?;
    let pty = tokio::select! {
        pty = socket.receive() => pty.map_err(|error| ApiError::internal(
            format!("the runtime sent no terminal: {error}")))?,
        status = child.wait() => {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let said = said.lines().last().unwrap_or("it said nothing").to_owned();
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(ApiError::conflict(format!("the command did not start ({status}): {said}")));
        }
        () = tokio::time::sleep(CONSOLE_TIMEOUT) => {
            let _ = child.start_kill();
            return Err(ApiError::unavailable("the runtime made no terminal in time"));
        }
    };
    set_size(&pty, request.rows, request.cols)?;
    Ok(ExecSession {
        stdin: None,
        stdout: None,
        stderr: None,
        pty: Some(pty),
        child,
        ended: false,
    })
}
