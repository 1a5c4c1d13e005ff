//! A client for the API: over the host's own socket, or TCP and mutual TLS.
//!
//! The last connection is used again while it lives; concurrent requests,
//! streams and exec sessions take connections of their own. Nothing
//! here knows of tables, terminals or configuration files.

mod blocking;
mod bundle;
mod connect;
mod error;
mod exec;
mod lines;
mod resolve;
mod tls;
mod update;
mod upload;

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use blocking::Blocking;
pub use connect::{API_PORT, Endpoint};
pub use error::ClientError;
pub use exec::{ExecFrame, ExecSession};
pub use lines::{EventLines, LogLines};
pub use tls::{Identity, Trust, presented};
pub use update::UpdateProgress;
pub use upload::UploadProgress;

use crate::types::{
    ApiError, ApplyReport, ApplyRequest, ErrorBody, EventQuery, HostStatus, ImageInfo,
    InstalledVersion, LogQuery, ProcessList, ShutdownMode, UnitFile, UnitStatus, Version,
};

/// How long connecting and the TLS handshake may take together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stream may be silent: the host gives a sign of life every 20 s at
/// least. One that has lost its power or its network cannot say that it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long an answer may take to begin.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long loading an uploaded image may take.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// The largest answer that is not a stream, in bytes.
const ANSWER_SIZE_MAX: usize = 32 * 1024 * 1024;

type Body = Full<Bytes>;

/// A client for one host.
pub struct Client {
    endpoint: Endpoint,
    idle: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    /// A client that will connect to `endpoint` when it is used.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            idle: Mutex::new(None),
        }
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What answers.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/v1/version").await
    }

    /// How the host is.
    pub async fn status(&self) -> Result<HostStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// The installed host images, the newest first.
    pub async fn versions(&self) -> Result<Vec<InstalledVersion>, ClientError> {
        self.get("/v1/versions").await
    }

    /// The processes that run on the host.
    pub async fn processes(&self) -> Result<ProcessList, ClientError> {
        self.get("/v1/host/processes").await
    }

    /// All units.
    pub async fn units(&self) -> Result<Vec<UnitStatus>, ClientError> {
        self.get("/v1/units").await
    }

    /// One unit.
    pub async fn unit(&self, name: &str) -> Result<UnitStatus, ClientError> {
        self.get(&format!("/v1/units/{}", segment(name))).await
    }

    /// Asks for the unit to run.
    pub async fn start(&self, name: &str) -> Result<UnitStatus, ClientError> {
        self.post(&format!("/v1/units/{}/start", segment(name)))
            .await
    }

    /// Asks for the unit not to run.
    pub async fn stop(&self, name: &str) -> Result<UnitStatus, ClientError> {
        self.post(&format!("/v1/units/{}/stop", segment(name)))
            .await
    }

    /// Asks for the unit to be stopped and started again.
    pub async fn restart(&self, name: &str) -> Result<UnitStatus, ClientError> {
        self.post(&format!("/v1/units/{}/restart", segment(name)))
            .await
    }

    /// Applies unit files: all of them, or none.
    pub async fn apply(
        &self,
        files: Vec<UnitFile>,
        dry_run: bool,
    ) -> Result<ApplyReport, ClientError> {
        let path = if dry_run {
            "/v1/units?dryRun=true"
        } else {
            "/v1/units"
        };
        self.json(
            Method::POST,
            path,
            Some(&ApplyRequest { files }),
            ANSWER_TIMEOUT,
        )
        .await
    }

    /// Removes a unit and its container.
    pub async fn remove(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/units/{}", segment(name));
        self.nothing(Method::DELETE, &path).await
    }

    /// The images that units can use.
    pub async fn images(&self) -> Result<Vec<ImageInfo>, ClientError> {
        self.get("/v1/images").await
    }

    /// Stops the containers and then the host.
    pub async fn shutdown(&self, mode: ShutdownMode) -> Result<(), ClientError> {
        let path = match mode {
            ShutdownMode::Reboot => "/v1/host/reboot",
            ShutdownMode::PowerOff => "/v1/host/poweroff",
        };
        self.nothing(Method::POST, path).await
    }

    /// A unit's log lines. When the connection breaks while following, the
    /// stream goes on where it was, on a new connection.
    pub async fn logs(&self, name: &str, query: LogQuery) -> Result<LogLines, ClientError> {
        LogLines::open(self.endpoint.clone(), name, query).await
    }

    /// What happens on the host; resumes as [`logs`](Self::logs) does.
    pub async fn events(&self, query: EventQuery) -> Result<EventLines, ClientError> {
        EventLines::open(self.endpoint.clone(), query).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None::<&()>, ANSWER_TIMEOUT)
            .await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::POST, path, None::<&()>, ANSWER_TIMEOUT)
            .await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json");
            bytes = serde_json::to_vec(body).map_err(ClientError::body)?.into();
        }
        let request = request
            .body(Full::new(bytes))
            .map_err(ClientError::request)?;
        let answer = self.send(request, timeout).await?;
        serde_json::from_slice(&answer).map_err(ClientError::body)
    }

    async fn nothing(&self, method: Method, path: &str) -> Result<(), ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Full::default());
        self.send(request.map_err(ClientError::request)?, ANSWER_TIMEOUT)
            .await
            .map(drop)
    }

    /// Sends one request and gives the whole answer of a success.
    async fn send(&self, request: Request<Body>, timeout: Duration) -> Result<Bytes, ClientError> {
        let reused = self.idle.lock().ok().and_then(|mut idle| idle.take());
        let reused = reused.filter(SendRequest::is_ready);
        let exchange = async {
            let (response, sender) = connect::reuse(&self.endpoint, reused, request).await?;
            whole(response)
                .await
                .map(|(status, bytes)| (status, bytes, sender))
        };
        let (status, bytes, sender) =
            tokio::time::timeout(timeout, exchange)
                .await
                .map_err(|_| ClientError::Timeout {
                    host: self.endpoint.to_string(),
                    seconds: timeout.as_secs(),
                })??;
        if let Ok(mut idle) = self.idle.lock() {
            *idle = Some(sender);
        }
        success(status, &bytes)?;
        Ok(bytes)
    }
}

/// The answer's status and whole body, of bounded size.
async fn whole(response: Response<Incoming>) -> Result<(StatusCode, Bytes), ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_SIZE_MAX);
    let bytes = body
        .collect()
        .await
        .map_err(ClientError::answer)?
        .to_bytes();
    Ok((status, bytes))
}

/// An answer's error, if it is one.
fn success(status: StatusCode, body: &[u8]) -> Result<(), ClientError> {
    if status.is_success() {
        return Ok(());
    }
    Err(ClientError::Api(
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.into_error(status.as_u16()),
            Err(_) => ApiError::new(
                status.as_u16(),
                "unknown",
                format!("the host answered {status} without saying why"),
            )
            .with_help("is this an Orlop host of the same version? see `orlop version`"),
        },
    ))
}

/// Opens a stream: a GET whose answer has no end of its own.
async fn stream(endpoint: &Endpoint, path: &str) -> Result<Response<Incoming>, ClientError> {
    let opening = async {
        let mut sender = connect::http(endpoint).await?;
        let request = Request::get(path)
            .body(Full::default())
            .map_err(ClientError::request)?;
        let response = connect::exchange(endpoint, &mut sender, request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, bytes) = whole(response).await?;
        success(status, &bytes)?;
        Err(ClientError::Protocol(format!("{path} gave no stream")))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, opening)
        .await
        .map_err(|_| ClientError::Timeout {
            host: endpoint.to_string(),
            seconds: ANSWER_TIMEOUT.as_secs(),
        })?
}

/// Completes a request's headers for `endpoint`.
fn addressed(endpoint: &Endpoint, mut request: Request<Body>) -> Request<Body> {
    if let Ok(host) = endpoint.authority().parse() {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// A path segment with everything but unreserved characters (RFC 3986, 2.3)
/// percent-encoded.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A query string of those pairs that have a value; empty without any.
fn query(pairs: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", segment(value.as_ref()?))))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_in_paths() {
        for (name, encoded) in [
            ("web", "web"),
            ("a/../b", "a%2F..%2Fb"),
            ("ä?", "%C3%A4%3F"),
            ("", ""),
        ] {
            assert_eq!(segment(name), encoded);
        }
        assert_eq!(query(&[("a", None), ("b", Some("1 2".into()))]), "?b=1%202");
        assert_eq!(query(&[("a", None)]), "");
    }

    #[test]
    fn an_answer_without_our_error_is_still_an_error() {
        let error = success(StatusCode::BAD_GATEWAY, b"<html>").unwrap_err();
        assert!(error.to_string().contains("502"), "{error}");
    }
}
