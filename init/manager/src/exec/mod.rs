//! Commands in a running container, for operators.
//!
//! The session holds `orlop-runtime exec` in the foreground, which passes the
//! command's exit status on. It knows nothing of the transport that the bytes
//! travel over.

mod attached;
mod console;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use orlop_control::types::{ApiError, ExecRequest, ExitStatus};
use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::Child;

pub(crate) use attached::{Attached, Call};
use console::ConsoleSocket;

/// Longest command line and environment together, in bytes.
const ARGUMENTS_MAX: usize = 128 * 1024;

/// How long the runtime may take until the command runs.
const START_TIMEOUT: Duration = Duration::from_secs(20);

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
    /// A directory for sockets and files of the call.
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

/// Rows and columns of a terminal; what a client does not know is as it always was.
fn size_of(rows: u16, cols: u16) -> (u16, u16) {
    (
        if rows == 0 { 24 } else { rows },
        if cols == 0 { 80 } else { cols },
    )
}

fn set_size(pty: &OwnedFd, rows: u16, cols: u16) -> Result<(), ApiError> {
    let (ws_row, ws_col) = size_of(rows, cols);
    let size = Winsize {
        ws_row,
        ws_col,
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
    let mut call = Call::new(&target.runtime, &target.runtime_root, &target.scratch);
    if let Some(user) = &user {
        let user = format!("{}:{}", user.uid, user.gid);
        call.command.arg("--user").arg(user);
    }
    if let Some(cwd) = &request.cwd {
        call.command.arg("--cwd").arg(cwd);
    }
    for entry in &request.env {
        call.command.arg("--env").arg(entry);
    }
    let begun = async {
        if request.tty {
            with_terminal(call, &target, &request).await
        } else {
            with_pipes(call, &target, &request).await
        }
    };
    let late = |_| ApiError::unavailable("the runtime did not run the command in time");
    tokio::time::timeout(START_TIMEOUT, begun)
        .await
        .map_err(late)?
}

/// Starts the call, complete up to the container and the command.
fn spawn(mut call: Call, target: &ExecTarget, request: &ExecRequest) -> Result<Attached, ApiError> {
    call.command
        .arg("--")
        .arg(&target.container_id)
        .args(&request.command);
    call.spawn()
        .map_err(|error| ApiError::internal(format!("cannot run the runtime: {error}")))
}

async fn with_pipes(
    mut call: Call,
    target: &ExecTarget,
    request: &ExecRequest,
) -> Result<ExecSession, ApiError> {
    call.command.stdin(if request.stdin {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    call.command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut attached = spawn(call, target, request)?;
    attached.started().await?;
    let mut child = attached.let_go();
    let pipe = |error: std::io::Error| ApiError::internal(format!("cannot keep a pipe: {error}"));
    let stdin = child.stdin.take().map(|end| end.into_owned_fd());
    let stdout = child.stdout.take().map(|end| end.into_owned_fd());
    let stderr = child.stderr.take().map(|end| end.into_owned_fd());
    Ok(ExecSession {
        stdin: stdin.transpose().map_err(pipe)?,
        stdout: stdout.transpose().map_err(pipe)?,
        stderr: stderr.transpose().map_err(pipe)?,
        pty: None,
        child,
        ended: false,
    })
}

async fn with_terminal(
    mut call: Call,
    target: &ExecTarget,
    request: &ExecRequest,
) -> Result<ExecSession, ApiError> {
    let socket = ConsoleSocket::bind(&target.scratch)
        .map_err(|error| ApiError::internal(format!("cannot make the console socket: {error}")))?;
    call.command
        .arg("--tty")
        .arg("--console-socket")
        .arg(socket.path());
    // From its beginning: a program may ask for it at once.
    let (rows, columns) = size_of(request.rows, request.cols);
    call.command
        .arg("--console-size")
        .arg(format!("{rows}x{columns}"));
    call.command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut attached = spawn(call, target, request)?;
    attached.started().await?;
    // It was sent before the command ran.
    let pty = socket.receive().await;
    let pty =
        pty.map_err(|error| ApiError::internal(format!("the runtime sent no terminal: {error}")))?;
    Ok(ExecSession {
        stdin: None,
        stdout: None,
        stderr: None,
        pty: Some(pty),
        child: attached.let_go(),
        ended: false,
    })
}
