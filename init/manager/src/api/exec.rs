//! Commands in containers, over a WebSocket. The frames are described with
//! [`ExecRequest`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use orlop_control::types::{
    ApiError, EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT, ErrorBody, ExecControl, ExecReport, ExecRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::mpsc;

use super::Api;
use super::answer::{Failure, Named};
use crate::exec::ExecSession;

/// How long a client may take to say what to run.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest frame that a client may send, in bytes.
const FRAME_SIZE_MAX: usize = 1024 * 1024;
/// How much output goes into one frame, in bytes.
const OUTPUT_SIZE: usize = 16 * 1024;
/// After a command has ended, others that it left behind may hold its output
/// open: it is sent until none came for so long.
const LINGER: Duration = Duration::from_millis(500);
/// How often a quiet client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// So many of these may be without an answer.
const UNANSWERED_MAX: u32 = 2;
/// How long a client may take to close after the end.
const PART_TIMEOUT: Duration = Duration::from_secs(5);
/// How many new sizes of a terminal may wait.
const SIZES_MAX: usize = 4;

/// Runs a command in a unit's container. The first text frame is an
/// `ExecRequest`; text frames after it are `ExecControl`, those from the host
/// `ExecReport`. Binary frames carry bytes after one that names the stream: 0
/// standard input, 1 output or terminal, 2 errors.
#[utoipa::path(get, path = "/v1/units/{name}/exec", tag = "units",
    params(("name" = String, Path, description = "The unit's name")),
    responses((status = 101, description = "The connection becomes a WebSocket"),
        (status = "default", body = ErrorBody)))]
pub(super) async fn exec(
    State(api): State<Api>,
    Named(name): Named,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let upgrade = upgrade.map_err(|error| {
        ApiError::invalid(format!("exec needs a WebSocket: {}", error.body_text()))
    })?;
    let permit = api.execs.clone().try_acquire_owned().map_err(|_| {
        ApiError::unavailable("as many commands run for clients as there may be")
            .with_help("end one of the other `orlop exec` sessions")
    })?;
    // Refused as an answer where that is possible already.
    api.handle.unit(&name).await?;
    let upgrade = upgrade
        .max_frame_size(FRAME_SIZE_MAX)
        .max_message_size(FRAME_SIZE_MAX);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        match begin(&api, &name, &mut socket).await {
            Ok(session) => run(socket, session).await,
            Err(error) => {
                let report = ExecReport::Error(ErrorBody::from(error).error);
                let _ = socket.send(text(&report)).await;
                let _ = socket.send(Message::Close(None)).await;
                part(socket).await;
            }
        }
        drop(permit);
    }))
}

/// Takes the request and starts the command.
async fn begin(api: &Api, name: &str, socket: &mut WebSocket) -> Result<ExecSession, ApiError> {
    let first = tokio::time::timeout(REQUEST_TIMEOUT, socket.recv())
        .await
        .map_err(|_| ApiError::new(408, "timeout", "no request came in time"))?;
    let Some(Ok(Message::Text(request))) = first else {
        return Err(ApiError::invalid(
            "the first frame has to be a text with the request",
        ));
    };
    let request: ExecRequest = serde_json::from_str(&request)
        .map_err(|error| ApiError::invalid(format!("the request is not understood: {error}")))?;
    api.handle.exec(name, request).await
}

/// Carries bytes both ways until the command or the client ends. When the
/// client goes first, dropping the session hangs the command up.
async fn run(socket: WebSocket, mut session: ExecSession) {
    let (mut sink, mut stream) = socket.split();
    if sink.send(text(&ExecReport::Started)).await.is_err() {
        return;
    }
    let Ok((input, outputs)) = ends(&mut session) else {
        return;
    };
    let (resize, sizes) = mpsc::channel(SIZES_MAX);
    let pings = Pings::default();
    tokio::select! {
        () = take_input(&mut stream, input, resize, &pings) => {}
        () = give_output(&mut sink, session, outputs, sizes, &pings) => part(stream).await,
    }
}

/// Whether a client answers: one that has lost its power or its network cannot
/// say that it is gone.
#[derive(Debug, Default)]
pub(super) struct Pings {
    unanswered: AtomicU32,
    /// Nothing is read from the client now, so that no answer would be seen.
    deaf: AtomicBool,
}

impl Pings {
    /// Counts one more; false when too many had no answer.
    fn another(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
            || self.unanswered.fetch_add(1, Ordering::Relaxed) < UNANSWERED_MAX
    }

    fn heard(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Waits for what keeps us from reading.
    async fn deaf_for<T>(&self, busy: impl Future<Output = T>) -> T {
        self.deaf.store(true, Ordering::Relaxed);
        let result = busy.await;
        self.heard();
        self.deaf.store(false, Ordering::Relaxed);
        result
    }
}

/// Leaves the end of the connection to the client. Were it closed with something
/// of the client's still on the way, the client might lose what it has not read.
async fn part(mut stream: impl Stream<Item = Result<Message, axum::Error>> + Unpin) {
    let end = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(PART_TIMEOUT, end).await;
}

/// The descriptors of a session's input, and of its outputs with their streams.
pub(super) type Ends = (Option<Sender>, [Option<(u8, Receiver)>; 2]);

pub(super) fn ends(session: &mut ExecSession) -> io::Result<Ends> {
    if let Some(pty) = &session.pty {
        // The session keeps its own, to resize the terminal.
        let input = writable(pty.try_clone()?)?;
        let output = readable(pty.try_clone()?)?;
        return Ok((Some(input), [Some((EXEC_STDOUT, output)), None]));
    }
    let output = |end: Option<OwnedFd>, stream: u8| -> io::Result<Option<(u8, Receiver)>> {
        end.map(|end| Ok((stream, readable(end)?))).transpose()
    };
    let stdout = output(session.stdout.take(), EXEC_STDOUT)?;
    let stderr = output(session.stderr.take(), EXEC_STDERR)?;
    let input = session.stdin.take().map(writable).transpose()?;
    Ok((input, [stdout, stderr]))
}

/// Hands on what the client sends, until it ends.
async fn take_input(
    stream: &mut SplitStream<WebSocket>,
    mut input: Option<Sender>,
    resize: mpsc::Sender<(u16, u16)>,
    pings: &Pings,
) {
    while let Some(Ok(message)) = stream.next().await {
        pings.heard();
        match message {
            Message::Binary(bytes) => {
                if let (Some((&EXEC_STDIN, bytes)), Some(end)) =
                    (bytes.split_first(), input.as_mut())
                    && pings.deaf_for(end.write_all(bytes)).await.is_err()
                {
                    // The command reads no more; it may still write.
                    input = None;
                }
            }
            Message::Text(control) => match serde_json::from_str(&control) {
                Ok(ExecControl::Resize { rows, cols }) => {
                    // A size that does not fit the queue is followed by others.
                    let _ = resize.try_send((rows, cols));
                }
                Ok(ExecControl::CloseStdin) => input = None,
                Err(_) => return,
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return,
        }
    }
}

/// Sends what the command writes and how it ends.
pub(super) async fn give_output(
    sink: &mut (impl Sink<Message, Error = axum::Error> + Unpin),
    mut session: ExecSession,
    [mut first, mut second]: [Option<(u8, Receiver)>; 2],
    mut sizes: mpsc::Receiver<(u16, u16)>,
    pings: &Pings,
) {
    let mut ended = None;
    let mut deadline = None;
    let mut ping =
        tokio::time::interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
    let mut buffers = (vec![0; OUTPUT_SIZE], vec![0; OUTPUT_SIZE]);
    while ended.is_none() || first.is_some() || second.is_some() {
        let sent = tokio::select! {
            // What is there to be read goes before the deadline.
            biased;
            Some((rows, cols)) = sizes.recv() => {
                // A terminal that cannot be resized is still one.
                let _ = session.resize(rows, cols);
                Ok(())
            }
            _ = ping.tick() => {
                if !pings.another() {
                    return;
                }
                sink.send(Message::Ping(Bytes::new())).await
            }
            status = session.wait(), if ended.is_none() => {
                ended = Some(status);
                deadline = Some(tokio::time::Instant::now() + LINGER);
                Ok(())
            }
            output = either(&mut first, &mut second, &mut buffers) => {
                let sent = forward(sink, output).await;
                // Counted from when the client has taken it, however slow it is.
                deadline = deadline.map(|_| tokio::time::Instant::now() + LINGER);
                // Only a quiet connection needs one.
                ping.reset();
                sent
            }
            () = at(deadline) => break,
        };
        if sent.is_err() {
            return;
        }
    }
    let report = match ended {
        Some(Ok(status)) => ExecReport::Exit(status),
        Some(Err(error)) => ExecReport::Error(ErrorBody::from(error).error),
        None => return,
    };
    let _ = sink.send(text(&report)).await;
    let _ = sink.send(Message::Close(None)).await;
}

/// The next output of either; neither waits for ever behind the other.
async fn either(
    first: &mut Option<(u8, Receiver)>,
    second: &mut Option<(u8, Receiver)>,
    buffers: &mut (Vec<u8>, Vec<u8>),
) -> Option<Bytes> {
    tokio::select! {
        output = read(first, &mut buffers.0) => output,
        output = read(second, &mut buffers.1) => output,
    }
}

async fn forward(
    sink: &mut (impl Sink<Message, Error = axum::Error> + Unpin),
    output: Option<Bytes>,
) -> Result<(), axum::Error> {
    match output {
        Some(output) => sink.send(Message::Binary(output)).await,
        None => Ok(()),
    }
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next output as a frame's content; none, and no more, at its end. Without
/// an output it waits for ever.
async fn read(output: &mut Option<(u8, Receiver)>, buffer: &mut [u8]) -> Option<Bytes> {
    let Some((stream, end)) = output else {
        return std::future::pending().await;
    };
    match end.read(buffer).await {
        Ok(size) if size > 0 => {
            let mut frame = Vec::with_capacity(size + 1);
            frame.push(*stream);
            frame.extend_from_slice(&buffer[..size]);
            Some(frame.into())
        }
        // A terminal whose other end is closed gives EIO.
        Ok(_) | Err(_) => {
            *output = None;
            None
        }
    }
}

fn text(report: &ExecReport) -> Message {
    Message::text(serde_json::to_string(report).unwrap_or_default())
}

/// The readable end of a pipe or terminal, read without blocking.
fn readable(end: OwnedFd) -> io::Result<Receiver> {
    rustix::io::ioctl_fionbio(&end, true)?;
    // Unchecked: a terminal is no pipe, and is polled just the same.
    Receiver::from_owned_fd_unchecked(end)
}

/// The writable end of a pipe or terminal, written without blocking.
fn writable(end: OwnedFd) -> io::Result<Sender> {
    rustix::io::ioctl_fionbio(&end, true)?;
    Sender::from_owned_fd_unchecked(end)
}
