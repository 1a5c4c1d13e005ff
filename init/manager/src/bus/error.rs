//! Errors as D-Bus names them.

use orlop_control::types::{ApiError, Role};

/// An error reply, `org.orlop.Error.*`.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.orlop.Error")]
pub(super) enum BusError {
    /// The connection or a message is broken.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// There is no such unit.
    NotFound(String),
    /// The role of this socket is too low.
    AccessDenied(String),
    /// The request is wrong or does not fit the present state.
    Refused(String),
    /// The host failed.
    Failed(String),
}

impl From<ApiError> for BusError {
    fn from(error: ApiError) -> Self {
        let text = match error.help {
            Some(help) => format!("{}; {help}", error.message),
            None => error.message,
        };
        match error.status {
            404 => Self::NotFound(text),
            400..=499 => Self::Refused(text),
            _ => Self::Failed(text),
        }
    }
}

/// Whether `role` may do what needs `least`.
pub(super) fn allow(role: Role, least: Role) -> Result<(), BusError> {
    if role >= least {
        return Ok(());
    }
    Err(BusError::AccessDenied(format!(
        "this needs the role {least}, and this socket gives {role}: see `bus` in the unit's file"
    )))
}
