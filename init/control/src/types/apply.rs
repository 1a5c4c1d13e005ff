//! Applying unit files: all of a request's files take effect, or none does.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A unit file as it is sent to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitFile {
    /// The unit's name: the file's name without `.toml`.
    pub name: String,
    /// The file's text.
    pub content: String,
}

/// The body of an apply request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyRequest {
    /// The files to apply together, at most 256.
    pub files: Vec<UnitFile>,
}

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// Only check and say what would change.
    #[serde(deserialize_with = "super::flag::flag")]
    pub dry_run: bool,
}

/// What an apply request did, or with a dry run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyReport {
    /// Nothing was changed: only the checks were made.
    pub dry_run: bool,
    /// One entry for each file of the request, in its order.
    pub units: Vec<UnitChange>,
    /// Findings that do not stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

/// What happens to one unit of an apply request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitChange {
    /// The unit's name.
    pub name: String,
    /// How the unit differs from what the host had.
    pub change: Change,
}

/// How an applied unit differs from what the host had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The host had no unit of that name.
    Added,
    /// The host had another text for it.
    Changed,
    /// The host had the same text.
    Unchanged,
}

impl Change {
    /// The word that tables show, the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Unchanged => "unchanged",
        }
    }
}

/// One finding in a unit file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The file's name, as the sender or the host knows it.
    pub file: String,
    /// The line, from 1; 0 when the finding is about the file as a whole.
    #[serde(default)]
    pub line: u32,
    /// The column in characters, from 1; 0 when `line` is 0.
    #[serde(default)]
    pub column: u32,
    /// What is wrong and what was expected.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            write!(
                f,
                "{}:{}:{}: {}",
                self.file, self.line, self.column, self.message
            )?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}
