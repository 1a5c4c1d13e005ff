//! Streams of one JSON document a line, which go on where they were after the
//! connection broke.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{ClientError, Endpoint, SILENCE_MAX, query, segment, stream};
use crate::types::{ErrorBody, EventQuery, EventRecord, LogLine, LogQuery};

/// The longest line, in bytes.
const LINE_SIZE_MAX: usize = 4 * 1024 * 1024;
/// How often a broken stream is opened again without a line in between.
const RETRIES_MAX: u32 = 30;
/// How long to wait before each of these.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A unit's log lines, oldest first.
pub struct LogLines {
    endpoint: Endpoint,
    name: String,
    query: LogQuery,
    lines: Lines,
}

impl LogLines {
    pub(super) async fn open(
        endpoint: Endpoint,
        name: &str,
        query: LogQuery,
    ) -> Result<Self, ClientError> {
        let lines = Lines::open(&endpoint, &log_path(name, &query)).await?;
        Ok(Self {
            endpoint,
            name: name.to_owned(),
            query,
            lines,
        })
    }

    /// The next line; none at the end.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        let mut retries = 0;
        loop {
            match self.lines.next::<LogLine>().await {
                Ok(line) => {
                    if let Some(line) = &line {
                        self.query.cursor = Some(line.cursor.clone());
                    }
                    return Ok(line);
                }
                Err(error) => {
                    // Without a cursor the tail is still to be sent.
                    if self.query.cursor.is_some() {
                        self.query.tail = None;
                        self.query.since = None;
                    }
                    let path = log_path(&self.name, &self.query);
                    self.lines = reopen(&self.endpoint, &path, error, &mut retries).await?;
                }
            }
        }
    }
}

fn log_path(name: &str, log: &LogQuery) -> String {
    let stream = log
        .stream
        .and_then(|stream| serde_json::to_value(stream).ok());
    let query = query(&[
        ("cursor", log.cursor.clone()),
        ("follow", log.follow.then(|| "true".to_owned())),
        ("tail", log.tail.map(|tail| tail.to_string())),
        (
            "stream",
            stream.and_then(|stream| stream.as_str().map(str::to_owned)),
        ),
        ("since", log.since.map(|since| since.to_string())),
    ]);
    format!("/v1/units/{}/logs{query}", segment(name))
}

/// What happens on a host.
pub struct EventLines {
    endpoint: Endpoint,
    query: EventQuery,
    lines: Lines,
}

impl EventLines {
    pub(super) async fn open(endpoint: Endpoint, query: EventQuery) -> Result<Self, ClientError> {
        let lines = Lines::open(&endpoint, &event_path(&query)).await?;
        Ok(Self {
            endpoint,
            query,
            lines,
        })
    }

    /// The next event; none when the host ends the stream.
    pub async fn next(&mut self) -> Result<Option<EventRecord>, ClientError> {
        let mut retries = 0;
        loop {
            match self.lines.next::<EventRecord>().await {
                Ok(event) => {
                    self.query.cursor = event.as_ref().map(|event| event.cursor);
                    return Ok(event);
                }
                Err(error) => {
                    let path = event_path(&self.query);
                    self.lines = reopen(&self.endpoint, &path, error, &mut retries).await?;
                }
            }
        }
    }
}

fn event_path(events: &EventQuery) -> String {
    let cursor = events.cursor.map(|cursor| cursor.to_string());
    format!("/v1/events{}", query(&[("cursor", cursor)]))
}

/// Opens a stream again after `error`, as long as that may help.
async fn reopen(
    endpoint: &Endpoint,
    path: &str,
    error: ClientError,
    retries: &mut u32,
) -> Result<Lines, ClientError> {
    let mut error = error;
    while error.is_transport() && *retries < RETRIES_MAX {
        *retries += 1;
        tokio::time::sleep(RETRY_PAUSE).await;
        match Lines::open(endpoint, path).await {
            Ok(lines) => return Ok(lines),
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// The lines of one answer.
struct Lines {
    endpoint: Endpoint,
    body: Incoming,
    buffer: VecDeque<u8>,
    /// So many bytes at the buffer's start are known to hold no line feed.
    searched: usize,
}

impl Lines {
    async fn open(endpoint: &Endpoint, path: &str) -> Result<Self, ClientError> {
        let body = stream(endpoint, path).await?.into_body();
        Ok(Self {
            endpoint: endpoint.clone(),
            body,
            buffer: VecDeque::new(),
            searched: 0,
        })
    }

    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                if line.is_empty() {
                    continue; // A sign of life.
                }
                return parse(&line).map(Some);
            }
            if self.buffer.len() > LINE_SIZE_MAX {
                return Err(ClientError::Protocol(
                    "a line of a stream is too long".into(),
                ));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame())
                .await
                .map_err(|_| ClientError::silence(&self.endpoint, SILENCE_MAX))?;
            let Some(frame) = frame else {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(ClientError::Broken {
                    host: self.endpoint.to_string(),
                    reason: "a stream ended within a line".into(),
                    refused: false,
                });
            };
            let frame = frame.map_err(|error| ClientError::exchange(&self.endpoint, error))?;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend(data.iter());
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let found = self
            .buffer
            .iter()
            .skip(self.searched)
            .position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
        line.pop();
        self.searched = 0;
        Some(line)
    }
}

/// A document, or the error that a stream ends with.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, ClientError> {
    let wrong = match serde_json::from_slice(line) {
        Ok(document) => return Ok(document),
        Err(wrong) => wrong,
    };
    match serde_json::from_slice::<ErrorBody>(line) {
        Ok(body) => Err(ClientError::Api(body.into_error(500))),
        Err(_) => Err(ClientError::body(wrong)),
    }
}
