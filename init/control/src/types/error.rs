//! The one error that requests end in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Diagnostic;

/// A refused or failed request, with the HTTP status it is sent with.
///
/// `code` is for programs and stays the same between versions; `message` and
/// `help` are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A stable word in camelCase, such as `unitNotFound`.
    pub code: String,
    /// What went wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Findings in the files that the request carried.
    pub diagnostics: Vec<Diagnostic>,
}

/// What to do about a full state partition.
pub const MAKE_ROOM: &str = "`orlop exec UNIT rm FILE` removes a file of a volume, `orlop rm UNIT` \
    a unit with its log and all that it wrote but its volumes";

impl ApiError {
    /// An error from its parts; the shorthands below cover the usual ones.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            help: None,
            diagnostics: Vec::new(),
        }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalidRequest", message)
    }

    /// 404: the host has no unit of that name.
    pub fn unit_not_found(name: &str) -> Self {
        Self::new(404, "unitNotFound", format!("no unit is named {name:?}"))
            .with_help("`orlop ps` lists this host's units")
    }

    /// 404: something other than a unit is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "notFound", message)
    }

    /// 409: the request does not fit the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// 422: unit files were rejected; nothing was changed.
    pub fn rejected(diagnostics: Vec<Diagnostic>) -> Self {
        let count = diagnostics.len();
        let errors = if count == 1 {
            "1 error".to_owned()
        } else {
            format!("{count} errors")
        };
        Self {
            diagnostics,
            ..Self::new(
                422,
                "unitsRejected",
                format!("{errors} in unit files; nothing changed"),
            )
        }
    }

    /// 500: the host failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "internal", message)
    }

    /// 503: not now; trying again later may work.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "unavailable", message)
    }

    /// 507: the state partition has no room.
    pub fn no_space(message: impl Into<String>) -> Self {
        Self::new(507, "noSpace", message).with_help(MAKE_ROOM)
    }

    /// The same error with advice.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// How an [`ApiError`] travels: `{"error": {"code", "message", "help"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The error itself.
    pub error: ErrorDetail,
}

/// The content of an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetail {
    /// A stable word for programs.
    pub code: String,
    /// What went wrong, in one line.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Findings in the files that the request carried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        let ApiError {
            status: _,
            code,
            message,
            help,
            diagnostics,
        } = error;
        Self {
            error: ErrorDetail {
                code,
                message,
                help,
                diagnostics,
            },
        }
    }
}

impl ErrorBody {
    /// The error as it was before it travelled with `status`.
    pub fn into_error(self, status: u16) -> ApiError {
        let ErrorDetail {
            code,
            message,
            help,
            diagnostics,
        } = self.error;
        ApiError {
            status,
            code,
            message,
            help,
            diagnostics,
        }
    }
}
