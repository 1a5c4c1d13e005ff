//! Container images: which there are, and bringing more in.

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use orlop_control::types::{ApiError, ErrorBody, ImageInfo, LoadQuery, Upload, UploadRequest};

use super::Api;
use super::answer::{Answer, Named, Params, document};

/// The images that units can use.
#[utoipa::path(get, path = "/v1/images", tag = "images",
    responses((status = 200, body = [ImageInfo]), (status = "default", body = ErrorBody)))]
pub(super) async fn list(State(api): State<Api>) -> Answer<Vec<ImageInfo>> {
    Ok(Json(api.handle.images().await?))
}

/// Begins an upload of an OCI archive, or finds the one that was begun with the
/// same digest and size.
#[utoipa::path(post, path = "/v1/uploads", tag = "images", request_body = UploadRequest,
    responses((status = 200, body = Upload), (status = "default", body = ErrorBody)))]
pub(super) async fn begin_upload(State(api): State<Api>, body: Body) -> Answer<Upload> {
    let request: UploadRequest = document(body).await?;
    Ok(Json(api.uploads.begin(&request, SystemTime::now())?))
}

/// Appends the body to an upload. It has to start where the upload is.
#[utoipa::path(patch, path = "/v1/uploads/{id}", tag = "images",
    params(("id" = String, Path, description = "The upload's id"),
        ("upload-offset" = u64, Header, description = "Where the body starts")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Upload), (status = "default", body = ErrorBody)))]
pub(super) async fn go_on_upload(
    State(api): State<Api>,
    Named(id): Named,
    headers: HeaderMap,
    body: Body,
) -> Answer<Upload> {
    let offset = headers
        .get("upload-offset")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| ApiError::invalid("the header Upload-Offset is missing or no number"))?;
    Ok(Json(api.uploads.claim(&id)?.append(offset, body).await?))
}

/// Loads the images of a complete upload, which ends with that, whatever comes
/// of it.
#[utoipa::path(post, path = "/v1/images", tag = "images", params(LoadQuery),
    responses((status = 200, body = [ImageInfo]), (status = "default", body = ErrorBody)))]
pub(super) async fn load(
    State(api): State<Api>,
    Params(query): Params<LoadQuery>,
) -> Answer<Vec<ImageInfo>> {
    let claim = api.uploads.claim(&query.upload)?;
    let archive = claim.complete()?.to_owned();
    // Its own task: the client may leave, the load and its tidying go on.
    let loading = tokio::spawn(async move {
        let loaded = api.handle.load_image(archive).await;
        claim.remove();
        loaded
    });
    let loaded = loading
        .await
        .map_err(|_| ApiError::internal("loading the image broke off"))?;
    Ok(Json(loaded?))
}
