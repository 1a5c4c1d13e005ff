//! Units: how they are, what they are to be, what they write.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orlop_control::types::{
    ApiError, ApplyQuery, ApplyReport, ApplyRequest, ErrorBody, LastExit, LogLine, LogQuery,
    UnitStatus,
};

use super::Api;
use super::answer::{Answer, Failure, Named, Params, document};
use super::ndjson::ndjson;

/// How many files one request may apply.
const FILES_MAX: usize = 256;

/// All units, by name.
#[utoipa::path(get, path = "/v1/units", tag = "units",
    responses((status = 200, body = [UnitStatus]), (status = "default", body = ErrorBody)))]
pub(super) async fn list(State(api): State<Api>) -> Answer<Vec<UnitStatus>> {
    Ok(Json(api.handle.units().await?))
}

/// One unit.
#[utoipa::path(get, path = "/v1/units/{name}", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 200, body = UnitStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn show(State(api): State<Api>, Named(name): Named) -> Answer<UnitStatus> {
    Ok(Json(api.handle.unit(&name).await?))
}

/// Applies unit files: all of them take effect, lastingly, or none does.
#[utoipa::path(post, path = "/v1/units", tag = "units", params(ApplyQuery),
    request_body = ApplyRequest,
    responses((status = 200, body = ApplyReport), (status = "default", body = ErrorBody)))]
pub(super) async fn apply(
    State(api): State<Api>,
    Params(query): Params<ApplyQuery>,
    body: Body,
) -> Answer<ApplyReport> {
    let ApplyRequest { files } = document(body).await?;
    if files.len() > FILES_MAX {
        let count = files.len();
        let message = format!("{count} files in one request; at most {FILES_MAX} are taken");
        return Err(ApiError::invalid(message).into());
    }
    Ok(Json(api.handle.apply(files, query.dry_run).await?))
}

/// Removes a unit's file and its container.
#[utoipa::path(delete, path = "/v1/units/{name}", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 204), (status = "default", body = ErrorBody)))]
pub(super) async fn remove(
    State(api): State<Api>,
    Named(name): Named,
) -> Result<StatusCode, Failure> {
    api.handle.remove(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for a unit to run. Answers once that is recorded.
#[utoipa::path(post, path = "/v1/units/{name}/start", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 200, body = UnitStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn start(State(api): State<Api>, Named(name): Named) -> Answer<UnitStatus> {
    Ok(Json(api.handle.start(&name).await?))
}

/// Asks for a unit not to run until it is started, or the host is. Answers once
/// that is recorded.
#[utoipa::path(post, path = "/v1/units/{name}/stop", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 200, body = UnitStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn stop(State(api): State<Api>, Named(name): Named) -> Answer<UnitStatus> {
    Ok(Json(api.handle.stop(&name).await?))
}

/// Asks for a unit to be stopped and started again.
#[utoipa::path(post, path = "/v1/units/{name}/restart", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 200, body = UnitStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn restart(State(api): State<Api>, Named(name): Named) -> Answer<UnitStatus> {
    Ok(Json(api.handle.restart(&name).await?))
}

/// How a unit's containers ended: each end on record once, oldest first.
#[utoipa::path(get, path = "/v1/units/{name}/exits", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 200, body = [LastExit]), (status = "default", body = ErrorBody)))]
pub(super) async fn exits(State(api): State<Api>, Named(name): Named) -> Answer<Vec<LastExit>> {
    Ok(Json(api.handle.exits(&name).await?))
}

/// A unit's log: one JSON document a line. Pass the last line's `cursor` to go
/// on after it. An empty line is a sign of life; a line with `error` is the
/// last.
#[utoipa::path(get, path = "/v1/units/{name}/logs", tag = "units",
    params(("name" = String, Path, description = "The unit's name"), LogQuery),
    responses((status = 200, body = LogLine, content_type = "application/x-ndjson"),
        (status = "default", body = ErrorBody)))]
pub(super) async fn logs(
    State(api): State<Api>,
    Named(name): Named,
    Params(query): Params<LogQuery>,
) -> Result<Response, Failure> {
    Ok(ndjson(api.handle.logs(&name, query).await?))
}
