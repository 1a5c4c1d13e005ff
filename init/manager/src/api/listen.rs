//! Accepting clients: the host's own socket, and TLS on the network. Whatever a
//! client does or leaves undone, it costs a bounded share for a bounded time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use orlop_control::pki;
use orlop_control::types::Role;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::limits::{self, Handshakes};
use super::timed::Timed;

/// How long to wait when a client cannot be accepted, as when descriptors have
/// run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// What it may do; none when its certificate names no role.
    pub(super) role: Option<Role>,
}

/// Serves the host's own socket: whoever can open it is root.
pub(super) async fn local(listener: UnixListener, router: Router) {
    let connections = Arc::new(Semaphore::new(limits::LOCAL_CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            connection(
                stream,
                Peer {
                    role: Some(Role::Admin),
                },
                router,
            )
            .await;
            drop(permit);
        });
    }
}

/// Serves the network, each client after its certificate was checked.
pub(super) async fn network(listener: TcpListener, tls: Arc<ServerConfig>, router: Router) {
    let connections = Arc::new(Semaphore::new(limits::NETWORK_CONNECTIONS_MAX));
    let handshakes = Handshakes::new();
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(handshake) = handshakes.admit(address.ip()) else {
            continue;
        };
        let (acceptor, router, connections) =
            (acceptor.clone(), router.clone(), connections.clone());
        tokio::spawn(async move {
            let shaken =
                tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, shake(acceptor, stream)).await;
            drop(handshake);
            let Ok(Some((stream, peer))) = shaken else {
                return;
            };
            let Ok(permit) = connections.try_acquire_owned() else {
                return;
            };
            connection(stream, peer, router).await;
            drop(permit);
        });
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// A TLS handshake; none when it fails.
async fn shake(acceptor: TlsAcceptor, stream: TcpStream) -> Option<(TlsStream, Peer)> {
    // Small frames of a terminal must not wait for each other.
    stream.set_nodelay(true).ok()?;
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let certificate = session.peer_certificates()?.first()?;
            let peer = Peer {
                role: pki::role_of(certificate),
            };
            Some((stream, peer))
        }
        Err((_, mut stream)) => {
            // The alert says why. A close with bytes unread would reset the
            // connection, and the client might never see it.
            stream.shutdown().await.ok()?;
            let mut rest = [0; 4096];
            let drain = async { while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {} };
            let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
            None
        }
    }
}

/// Serves one connection until it ends.
pub(super) async fn connection<S>(stream: S, peer: Peer, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let io = TokioIo::new(Timed::new(stream, limits::WRITE_TIMEOUT));
    // How a connection ends concerns nobody but its client.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::HEAD_SIZE_MAX)
        .serve_connection(io, service)
        .with_upgrades()
        .await;
}

async fn answer(router: Router, request: Request<Incoming>) -> axum::response::Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
