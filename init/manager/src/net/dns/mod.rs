//! The name server of the bridge.
//!
//! It answers for units, by [`zone`], and passes every other question on to
//! the uplink's servers, by [`forward`]. It listens on the bridge's address
//! alone and answers the bridge's network alone. Whatever a container sends,
//! it holds no more than the seats in [`seats`] allow, and everything ends by
//! a timeout.

mod forward;
mod seats;
mod zone;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use super::addresses::Book;
use super::error::{NetError, Result};
use super::uplink::UplinkStatus;
use seats::{Limits, Seats};
use zone::Decision;

/// The name server's port, on the bridge's address.
pub(super) const PORT: u16 = 53;
/// A question is one name and some options; EDNS servers take up to this.
const QUESTION_BYTES_MAX: usize = 4096;
/// Questions being passed on, in all and from one container.
const FORWARDED: Limits = Limits { all: 256, each: 64 };
/// TCP connections, in all and from one container.
const CONNECTIONS: Limits = Limits { all: 64, each: 8 };
/// A TCP connection without a whole question for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// What every part of the server needs.
#[derive(Clone)]
struct Context {
    book: Arc<Mutex<Book>>,
    uplink: watch::Receiver<UplinkStatus>,
    forwarded: Arc<Seats>,
    connections: Arc<Seats>,
}

/// The running server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    _tasks: JoinSet<()>,
}

/// Starts answering at `gateway`, which must be an address of this host.
pub(super) async fn serve(
    book: Arc<Mutex<Book>>,
    gateway: Ipv4Addr,
    uplink: watch::Receiver<UplinkStatus>,
) -> Result<Server> {
    let failed = |source: io::Error| NetError::NameServer {
        address: gateway,
        source,
    };
    let udp = UdpSocket::bind((gateway, PORT)).await.map_err(failed)?;
    let tcp = TcpListener::bind((gateway, PORT)).await.map_err(failed)?;
    let context = Context {
        book,
        uplink,
        forwarded: Seats::new("questions to pass on", FORWARDED),
        connections: Seats::new("connections", CONNECTIONS),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_udp(context.clone(), Arc::new(udp)));
    tasks.spawn(serve_tcp(context, tcp));
    Ok(Server { _tasks: tasks })
}

impl Context {
    fn decide(&self, question: &[u8]) -> Decision {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        zone::decide(question, book.pool())
    }

    /// The container that asks; nothing for anyone else.
    fn client(&self, from: SocketAddr) -> Option<Ipv4Addr> {
        let IpAddr::V4(address) = from.ip() else {
            return None;
        };
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.pool().net().contains(address).then_some(address)
    }

    fn servers(&self) -> Vec<IpAddr> {
        self.uplink.borrow().dns.clone()
    }
}

async fn serve_udp(context: Context, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error about an earlier answer, or no memory: go on.
                warn!(%error, "name server: cannot receive");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(client) = context.client(from) else {
            continue;
        };
        let question = &buffer[..length];
        match context.decide(question) {
            Decision::Ignore => {}
            Decision::Answer(answer) => send(&socket, &answer, from).await,
            Decision::Forward => {
                let Some(seat) = context.forwarded.take(client) else {
                    if let Some(answer) = zone::refuse(question) {
                        send(&socket, &answer, from).await;
                    }
                    continue;
                };
                let (servers, socket) = (context.servers(), Arc::clone(&socket));
                let question = question.to_vec();
                tasks.spawn(async move {
                    let answer = match forward::udp(&question, &servers).await {
                        Some(answer) => Some(answer),
                        None => zone::fail(&question),
                    };
                    if let Some(answer) = answer {
                        send(&socket, &answer, from).await;
                    }
                    drop(seat);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // A client that is gone is not the server's trouble.
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%error, %to, "name server: cannot answer");
    }
}

async fn serve_tcp(context: Context, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(client) = context.client(from) else {
                    continue;
                };
                let Some(seat) = context.connections.take(client) else {
                    continue;
                };
                let context = context.clone();
                tasks.spawn(async move {
                    if let Err(error) = converse(&context, stream, client).await {
                        tracing::debug!(%error, %from, "name server: connection ended");
                    }
                    drop(seat);
                });
            }
            Err(error) => {
                warn!(%error, "name server: cannot accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// One question after another, each answered before the next is read.
async fn converse(context: &Context, mut stream: TcpStream, client: Ipv4Addr) -> io::Result<()> {
    loop {
        let read = tokio::time::timeout(IDLE, read_question(&mut stream)).await;
        let Some(question) = read.map_err(|_| io::ErrorKind::TimedOut)?? else {
            return Ok(());
        };
        let answer = match context.decide(&question) {
            Decision::Ignore => return Ok(()),
            Decision::Answer(answer) => Some(answer),
            Decision::Forward => match context.forwarded.take(client) {
                Some(_seat) => match forward::tcp(&question, &context.servers()).await {
                    Some(answer) => Some(answer),
                    None => zone::fail(&question),
                },
                None => zone::refuse(&question),
            },
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        tokio::time::timeout(IDLE, stream.write_all(&framed))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

async fn read_question(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(Some(question))
}
