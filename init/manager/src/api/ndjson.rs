//! Streams of one JSON document a line.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use orlop_control::types::{ApiError, ErrorBody};
use serde::Serialize;

/// After so long without a document an empty line is sent: a client that is
/// gone is noticed then.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Documents that are there at once are sent together, up to so many.
const TOGETHER_MAX: usize = 64;

/// An answer with a line for each document. An error is the last line.
pub(super) fn ndjson<T, S>(documents: S) -> Response
where
    T: Serialize + Send + 'static,
    S: Stream<Item = Result<T, ApiError>> + Send + 'static,
{
    let documents = documents.ready_chunks(TOGETHER_MAX).boxed();
    let lines = stream::unfold(Some(documents), |documents| async move {
        let mut documents = documents?;
        let together = match tokio::time::timeout(QUIET_MAX, documents.next()).await {
            Ok(Some(together)) => together,
            Ok(None) => return None,
            Err(_) => return Some((Bytes::from_static(b"\n"), Some(documents))),
        };
        let (lines, ended) = lines(together);
        Some((lines, (!ended).then_some(documents)))
    });
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    (
        [
            (CONTENT_TYPE, "application/x-ndjson"),
            (CACHE_CONTROL, "no-store"),
        ],
        body,
    )
        .into_response()
}

/// The lines of some documents, and whether an error ends them.
fn lines<T: Serialize>(documents: Vec<Result<T, ApiError>>) -> (Bytes, bool) {
    let mut lines = Vec::with_capacity(documents.len() * 128);
    let mut ended = false;
    for document in documents {
        let at = lines.len();
        let written = match document {
            Ok(document) => serde_json::to_writer(&mut lines, &document),
            Err(error) => {
                ended = true;
                serde_json::to_writer(&mut lines, &ErrorBody::from(error))
            }
        };
        if written.is_err() {
            lines.truncate(at);
        } else {
            lines.push(b'\n');
        }
        if ended {
            break;
        }
    }
    (lines.into(), ended)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quiet_streams_give_signs_of_life_and_errors_end_them() {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let documents = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|document| (document, receiver))
        });
        let mut body = ndjson::<u32, _>(documents).into_body();
        let mut next = async || {
            let frame = body.frame().await?.unwrap();
            Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
        };
        assert_eq!(next().await.unwrap(), "\n");
        sender.send(Ok(1)).await.unwrap();
        sender.send(Ok(2)).await.unwrap();
        assert_eq!(next().await.unwrap(), "1\n2\n");
        sender.send(Err(ApiError::internal("torn"))).await.unwrap();
        sender.send(Ok(3)).await.unwrap();
        assert!(next().await.unwrap().starts_with("{\"error\":"));
        assert_eq!(next().await, None, "nothing follows an error");
    }
}
