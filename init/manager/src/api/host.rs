//! The host as a whole.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orlop_control::types::{
    ApiError, ErrorBody, HostStatus, InstalledVersion, ProcessList, ShutdownMode, Version,
};

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

/// The installed host images, the newest first.
#[utoipa::path(get, path = "/v1/versions", tag = "host",
    responses((status = 200, body = Vec<InstalledVersion>), (status = "default", body = ErrorBody)))]
pub(super) async fn versions(State(api): State<Api>) -> Answer<Vec<InstalledVersion>> {
    Ok(Json(api.handle.versions().await?))
}

/// The processes that run on the host, kernel threads left out.
#[utoipa::path(get, path = "/v1/host/processes", tag = "host",
    responses((status = 200, body = ProcessList), (status = "default", body = ErrorBody)))]
pub(super) async fn processes(State(api): State<Api>) -> Answer<ProcessList> {
    let turn = api.listing.clone().acquire_owned().await;
    let turn = turn.map_err(|_| ApiError::unavailable("the manager is going down"))?;
    let listing = tokio::task::spawn_blocking(move || {
        // Held to the end, though the client may have left.
        let _turn = turn;
        crate::processes::list(Path::new("/proc"))
    });
    let listed = listing
        .await
        .map_err(|_| ApiError::internal("listing the processes broke off"))?;
    let list = listed.map_err(|error| ApiError::internal(format!("/proc: {error}")))?;
    Ok(Json(list))
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
