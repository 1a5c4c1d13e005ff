//! Updating the host image.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use orlop_control::types::{
    ApiError, CHUNKS_SIZE_MAX, ErrorBody, InstalledVersion, MissingChunks, UpdateQuery,
    UpdateRequest, UpdateStatus,
};

use super::Api;
use super::answer::{Answer, Failure, Params, collect, document};

/// The largest head of a bundle, in bytes.
const HEAD_MAX: usize = 9 << 20;

/// How the update is that is under way, or was the last.
#[utoipa::path(get, path = "/v1/update", tag = "update",
    responses((status = 200, body = UpdateStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn status(State(api): State<Api>) -> Answer<UpdateStatus> {
    Ok(Json(api.handle.updater()?.status()))
}

/// Updates from a web server. Answers once the bundle's head has been fetched and found good; a dry
/// run once it is known what would be moved.
#[utoipa::path(post, path = "/v1/update", tag = "update", params(UpdateQuery),
    request_body = UpdateRequest,
    responses((status = 200, body = UpdateStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn begin(
    State(api): State<Api>,
    Params(query): Params<UpdateQuery>,
    body: Body,
) -> Answer<UpdateStatus> {
    let request: UpdateRequest = document(body).await?;
    to_its_end(async move { api.handle.updater()?.begin(request.url, query).await }).await
}

/// Gives up the update that is under way, or that waits for a reboot.
#[utoipa::path(delete, path = "/v1/update", tag = "update",
    responses((status = 200, body = UpdateStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn cancel(State(api): State<Api>) -> Answer<UpdateStatus> {
    Ok(Json(api.handle.updater()?.cancel().await?))
}

/// Updates from a bundle that the client has: the body is the bundle's head, byte for byte. The
/// host then says which chunks it lacks.
#[utoipa::path(post, path = "/v1/update/head", tag = "update", params(UpdateQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = UpdateStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn begin_upload(
    State(api): State<Api>,
    Params(query): Params<UpdateQuery>,
    body: Body,
) -> Answer<UpdateStatus> {
    let turn = api.heads.clone().try_acquire_owned();
    let _turn = turn.map_err(|_| {
        ApiError::new(429, "busy", "other bundles are being looked at")
            .with_help("try again in a few seconds")
    })?;
    let head = collect(body, HEAD_MAX).await?;
    to_its_end(async move { api.handle.updater()?.begin_upload(head, query).await }).await
}

/// The chunks that the host lacks, while it receives.
#[utoipa::path(get, path = "/v1/update/missing", tag = "update",
    responses((status = 200, body = MissingChunks), (status = "default", body = ErrorBody)))]
pub(super) async fn missing(State(api): State<Api>) -> Answer<MissingChunks> {
    Ok(Json(api.handle.updater()?.missing()?))
}

/// Gives the host chunks. The body is a sequence of them, each as its number in the bundle's index
/// (u32, little-endian), the bytes that it takes compressed (u32), and these.
#[utoipa::path(post, path = "/v1/update/chunks", tag = "update",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = UpdateStatus), (status = "default", body = ErrorBody)))]
pub(super) async fn put(State(api): State<Api>, body: Body) -> Answer<UpdateStatus> {
    let chunks = collect(body, CHUNKS_SIZE_MAX).await?;
    Ok(Json(api.handle.updater()?.put(chunks).await?))
}

/// Goes back to the other installed version and reboots; answers with that version.
#[utoipa::path(post, path = "/v1/rollback", tag = "update",
    responses((status = 202, body = InstalledVersion), (status = "default", body = ErrorBody)))]
pub(super) async fn roll_back(
    State(api): State<Api>,
) -> Result<(StatusCode, Json<InstalledVersion>), Failure> {
    let Json(version) = to_its_end(async move { api.handle.updater()?.roll_back().await }).await?;
    Ok((StatusCode::ACCEPTED, Json(version)))
}

/// Sees work through that must not be left half done, whether the client stays or not.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Answer<T> {
    let done = tokio::spawn(work).await;
    let done = done.map_err(|_| ApiError::internal("the work broke off"))?;
    Ok(Json(done?))
}
