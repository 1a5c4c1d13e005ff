//! The host as a whole.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orlop_control::types::{ErrorBody, HostStatus, ShutdownMode, Version};

use super::answer::{Answer, Failure};
use super::{Api, Identity};

/// What answers.
#[utoipa::path(get, path = "/v1/version", tag = "host",
    responses((status = 200, body = Version), (status = "default", body = ErrorBody)))]
pub(super) async fn version(State(api): State<Api>) -> Answer<Version> {
    let status = api.handle.status().await?;
    Ok(Json(Version {
        manager: env!("CARGO_PKG_VERSION").to_owned(),
        host: status.version,
        api: "v1".to_owned(),
        kernel: status.kernel,
        architecture: status.architecture,
    }))
}

/// How the host is.
#[utoipa::path(get, path = "/v1/status", tag = "host",
    responses((status = 200, body = HostStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn status(State(api): State<Api>) -> Answer<HostStatus> {
    let mut status = api.handle.status().await?;
    if status.fingerprint.is_none() {
        let identity = Identity::read(&api.identity).ok();
        status.fingerprint = identity.map(|identity| identity.fingerprint().to_string());
    }
    Ok(Json(status))
}

/// Stops the containers and starts the host again. Answers once that has begun.
#[utoipa::path(post, path = "/v1/host/reboot", tag = "host",
    responses((status = 202), (status = "default", body = ErrorBody)))]
pub(super) async fn reboot(State(api): State<Api>) -> Result<StatusCode, Failure> {
    api.handle.shutdown(ShutdownMode::Reboot).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Stops the containers and powers the host off. Answers once that has begun.
#[utoipa::path(post, path = "/v1/host/poweroff", tag = "host",
    responses((status = 202), (status = "default", body = ErrorBody)))]
pub(super) async fn poweroff(State(api): State<Api>) -> Result<StatusCode, Failure> {
    api.handle.shutdown(ShutdownMode::PowerOff).await?;
    Ok(StatusCode::ACCEPTED)
}
