//! A command in a container, over a WebSocket. The frames are described with
//! [`ExecRequest`].

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};

use super::connect::{self, Stream};
use super::{CONNECT_TIMEOUT, Client, ClientError, Endpoint, SILENCE_MAX, segment, success};
use crate::types::{
    ApiError, EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT, ErrorBody, ExecControl, ExecReport,
    ExecRequest, ExitStatus,
};

/// The largest frame, in bytes.
const FRAME_SIZE_MAX: usize = 1024 * 1024;

/// A running command: what it says is in [`ExecSession::next`].
pub struct ExecSession {
    /// To the command.
    pub input: ExecInput,
    output: SplitStream<WebSocketStream<Box<dyn Stream>>>,
    endpoint: Endpoint,
}

/// The way to a running command.
pub struct ExecInput {
    sink: SplitSink<WebSocketStream<Box<dyn Stream>>, Message>,
    endpoint: Endpoint,
}

/// What a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecFrame {
    /// On its standard output, or its terminal.
    Stdout(Bytes),
    /// On its standard error.
    Stderr(Bytes),
    /// It ended.
    Exit(ExitStatus),
}

impl Client {
    /// Runs a command in a unit's container.
    pub async fn exec(
        &self,
        name: &str,
        request: &ExecRequest,
    ) -> Result<ExecSession, ClientError> {
        let endpoint = self.endpoint.clone();
        let stream = connect::stream(&endpoint).await?;
        let uri = format!(
            "ws://{}/v1/units/{}/exec",
            endpoint.authority(),
            segment(name)
        );
        let upgrade = uri.into_client_request().map_err(ClientError::request)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_SIZE_MAX))
            .max_frame_size(Some(FRAME_SIZE_MAX));
        let opening = tokio_tungstenite::client_async_with_config(upgrade, stream, Some(config));
        let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(|_| ClientError::Timeout {
                host: endpoint.to_string(),
                seconds: CONNECT_TIMEOUT.as_secs(),
            })?
            .map_err(|error| broken(&endpoint, error))?;
        let (sink, output) = socket.split();
        let input = ExecInput {
            sink,
            endpoint: endpoint.clone(),
        };
        let mut session = ExecSession {
            input,
            output,
            endpoint,
        };
        session.input.text(request).await?;
        match session.split().1.message().await? {
            Some(Said::Report(ExecReport::Started)) => Ok(session),
            Some(Said::Report(ExecReport::Error(error))) => {
                Err(ClientError::Api(ErrorBody { error }.into_error(500)))
            }
            Some(Said::Report(ExecReport::Exit(_)) | Said::Frame(_)) | None => Err(
                ClientError::Protocol("exec began with something else".into()),
            ),
        }
    }
}

enum Said {
    Frame(ExecFrame),
    Report(ExecReport),
}

impl ExecSession {
    /// What the command says next. After [`ExecFrame::Exit`] nothing follows.
    pub async fn next(&mut self) -> Result<ExecFrame, ClientError> {
        self.split().1.next().await
    }

    /// The two directions, for use from two places at once.
    pub fn split(&mut self) -> (&mut ExecInput, ExecOutput<'_>) {
        (
            &mut self.input,
            ExecOutput {
                output: &mut self.output,
                endpoint: &self.endpoint,
            },
        )
    }
}

/// The way from a running command.
pub struct ExecOutput<'a> {
    output: &'a mut SplitStream<WebSocketStream<Box<dyn Stream>>>,
    endpoint: &'a Endpoint,
}

impl ExecOutput<'_> {
    /// As [`ExecSession::next`].
    pub async fn next(&mut self) -> Result<ExecFrame, ClientError> {
        match self.message().await? {
            Some(Said::Frame(frame)) => Ok(frame),
            Some(Said::Report(ExecReport::Exit(status))) => Ok(ExecFrame::Exit(status)),
            Some(Said::Report(ExecReport::Error(error))) => {
                Err(ClientError::Api(ErrorBody { error }.into_error(500)))
            }
            Some(Said::Report(ExecReport::Started)) => {
                Err(ClientError::Protocol("exec started twice".into()))
            }
            None => Err(ClientError::Broken {
                host: self.endpoint.to_string(),
                reason: "it ended before the command did".into(),
                refused: false,
            }),
        }
    }

    async fn message(&mut self) -> Result<Option<Said>, ClientError> {
        loop {
            let message = tokio::time::timeout(SILENCE_MAX, self.output.next())
                .await
                .map_err(|_| ClientError::silence(self.endpoint, SILENCE_MAX))?;
            let Some(message) = message else {
                return Ok(None);
            };
            match message.map_err(|error| broken(self.endpoint, error))? {
                Message::Binary(bytes) => {
                    return frame(bytes).map(|frame| Some(Said::Frame(frame)));
                }
                Message::Text(text) => {
                    let report = serde_json::from_str(&text).map_err(ClientError::body)?;
                    return Ok(Some(Said::Report(report)));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Ok(None),
            }
        }
    }
}

impl ExecInput {
    /// Bytes for the command's standard input.
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let mut frame = BytesMut::with_capacity(bytes.len() + 1);
        frame.put_u8(EXEC_STDIN);
        frame.extend_from_slice(bytes);
        self.send(Message::Binary(frame.freeze())).await
    }

    /// The end of its standard input.
    pub async fn close_stdin(&mut self) -> Result<(), ClientError> {
        self.text(&ExecControl::CloseStdin).await
    }

    /// Another size for its terminal.
    pub async fn resize(&mut self, rows: u16, cols: u16) -> Result<(), ClientError> {
        self.text(&ExecControl::Resize { rows, cols }).await
    }

    async fn text(&mut self, document: &impl serde::Serialize) -> Result<(), ClientError> {
        let text = serde_json::to_string(document).map_err(ClientError::body)?;
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ClientError> {
        self.sink
            .send(message)
            .await
            .map_err(|error| broken(&self.endpoint, error))
    }
}

fn frame(bytes: Bytes) -> Result<ExecFrame, ClientError> {
    match bytes.first() {
        Some(&EXEC_STDOUT) => Ok(ExecFrame::Stdout(bytes.slice(1..))),
        Some(&EXEC_STDERR) => Ok(ExecFrame::Stderr(bytes.slice(1..))),
        Some(other) => Err(ClientError::Protocol(format!(
            "exec speaks on stream {other}"
        ))),
        None => Err(ClientError::Protocol("exec sent an empty frame".into())),
    }
}

fn broken(endpoint: &Endpoint, error: tungstenite::Error) -> ClientError {
    if let tungstenite::Error::Http(response) = &error {
        let body = response.body().as_deref().unwrap_or_default();
        return match success(response.status(), body) {
            Err(error) => error,
            Ok(()) => ApiError::internal("the host does not do exec").into(),
        };
    }
    ClientError::Broken {
        host: endpoint.to_string(),
        reason: error.to_string(),
        refused: false,
    }
}
