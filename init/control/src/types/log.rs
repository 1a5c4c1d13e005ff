//! What containers write.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The stream that a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which lines to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Only lines after the one with this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Go on sending lines as they are written.
    #[serde(
        deserialize_with = "super::flag::flag",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub follow: bool,
    /// Only the last so many of the lines that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Only this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
    /// Only lines from this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Pass it as `cursor` to go on after this line. Its form is the host's
    /// own business.
    pub cursor: String,
    /// When its bytes were collected, by the host's clock.
    pub time: Timestamp,
    /// Where it was written to.
    pub stream: LogStream,
    /// Its text without the line feed. Bytes that are not UTF-8 are shown as
    /// U+FFFD.
    pub line: String,
    /// The line was cut here because it is too long: it goes on in the next
    /// entry of the same stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}
