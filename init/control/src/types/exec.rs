//! Running a command in a unit's container, over a WebSocket.
//!
//! The client sends one text frame with an [`ExecRequest`] first. The server
//! answers with a text frame, [`ExecReport::Started`] or [`ExecReport::Error`].
//! Then binary frames carry bytes, the first of which names the stream
//! ([`EXEC_STDIN`], [`EXEC_STDOUT`], [`EXEC_STDERR`]); text frames carry
//! [`ExecControl`] to the server and [`ExecReport`] from it. After
//! [`ExecReport::Exit`] the server closes. When the client goes away first, the
//! command gets SIGHUP, as from a closed terminal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// First byte of a binary frame with bytes for the command's standard input.
pub const EXEC_STDIN: u8 = 0;
/// First byte of a binary frame with bytes of the command's standard output,
/// or of its terminal.
pub const EXEC_STDOUT: u8 = 1;
/// First byte of a binary frame with bytes of the command's standard error.
pub const EXEC_STDERR: u8 = 2;

/// What to run, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// The command and its arguments; at least one.
    pub command: Vec<String>,
    /// Give it a terminal.
    #[serde(default)]
    pub tty: bool,
    /// The terminal's rows; 0 leaves the default of 24.
    #[serde(default)]
    pub rows: u16,
    /// The terminal's columns; 0 leaves the default of 80.
    #[serde(default)]
    pub cols: u16,
    /// `NAME=value` additions to the container's environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `uid[:gid]` or a name from the image; the container's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory; the container's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Standard input will be sent; without it the command reads end of file.
    #[serde(default)]
    pub stdin: bool,
}

/// What a client says in text frames after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ExecControl {
    /// The terminal has another size.
    Resize {
        /// Rows, at least 1.
        rows: u16,
        /// Columns, at least 1.
        cols: u16,
    },
    /// No more standard input will come.
    CloseStdin,
}

/// What the server says in text frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ExecReport {
    /// The command runs.
    Started,
    /// The command ended; nothing follows.
    Exit(ExitStatus),
    /// The command could not be run; nothing follows.
    Error(super::ErrorDetail),
}

/// How a process ended: exactly one of the two is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExitStatus {
    /// Its exit code, 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The number of the signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// The status as a shell gives it: the code, or 128 plus the signal.
    pub fn shell_code(self) -> u8 {
        let code = match (self.code, self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 255,
        };
        u8::try_from(code).unwrap_or(255)
    }
}
