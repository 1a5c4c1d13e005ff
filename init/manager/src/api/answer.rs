//! Errors as answers, and requests' parts with errors of that one form.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use orlop_control::types::{ApiError, ErrorBody};
use serde::de::DeserializeOwned;

use super::limits;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ApiError);

/// What handlers give.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody::from(self.0))).into_response()
    }
}

/// The query string, with an error that says what is wrong in it.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            ApiError::invalid(format!("the query string: {}", error.body_text()))
                .with_help("GET /v1/openapi.json describes each path's parameters")
                .into()
        })
    }
}

/// The variable part of a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|error| ApiError::invalid(format!("the path: {}", error.body_text())).into())
    }
}

/// A request's body as a document, of bounded size and within bounded time.
pub(super) async fn document<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let bytes = collect(body, limits::DOCUMENT_SIZE_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::invalid(format!(
            "the body is not the JSON that is expected: {error}"
        ))
        .with_help("GET /v1/openapi.json describes it")
        .into()
    })
}

/// A request's body, of at most `size_max` bytes and within bounded time.
pub(super) async fn collect(mut body: Body, size_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut body, limits::BODY_TIMEOUT).await? {
        if bytes.len() + chunk.len() > size_max {
            let message = format!("the body is larger than {size_max} bytes");
            return Err(ApiError::new(413, "tooLarge", message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The next bytes of a body; none at its end.
pub(super) async fn next_chunk(
    body: &mut Body,
    timeout: Duration,
) -> Result<Option<axum::body::Bytes>, ApiError> {
    loop {
        let frame = tokio::time::timeout(timeout, body.frame())
            .await
            .map_err(|_| {
                ApiError::new(408, "timeout", "the request's body did not come in time")
            })?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame
            .map_err(|error| ApiError::invalid(format!("the body cannot be read: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}
