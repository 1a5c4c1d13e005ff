//! What a client is told whose bundle is not taken.

use std::io;

use orlop_bundle::{Refusal, SignatureError};
use orlop_control::types::{ApiError, MAKE_ROOM, UpdateStatus};

use crate::durable::no_room;

/// It cannot be believed.
pub(super) fn untrusted(error: SignatureError) -> ApiError {
    ApiError::new(403, "untrusted", error.to_string())
}

/// It can, and is not for this host now.
pub(super) fn unwanted(refusal: &Refusal) -> ApiError {
    ApiError::new(409, "notWanted", refusal.to_string())
}

/// Another update is under way.
pub(super) fn another(status: &UpdateStatus) -> ApiError {
    let version = status.version.as_deref().unwrap_or("another version");
    ApiError::conflict(format!("an update to {version} is under way")).with_help(
        "wait for it (`orlop update --status`), or give it up with `orlop update --cancel`",
    )
}

/// It cannot be put on record, and would be forgotten by the next manager.
pub(super) fn record(error: &io::Error) -> ApiError {
    match no_room(error) {
        true => ApiError::no_space(format!(
            "the update cannot be put on record, as the state partition is full: {MAKE_ROOM}"
        )),
        false => ApiError::internal(format!("the update cannot be put on record: {error}")),
    }
}
