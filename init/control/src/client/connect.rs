//! Reaching a host and speaking HTTP/1.1 with it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Body, CONNECT_TIMEOUT, ClientError, Identity, Trust, resolve, tls};

/// The TCP port of a host's API.
pub const API_PORT: u16 = 7470;

/// Where a host's API is, and how it is trusted.
#[derive(Clone)]
pub enum Endpoint {
    /// On the host itself.
    Unix(PathBuf),
    /// Over the network.
    Tls {
        /// A host name or IP address.
        host: String,
        /// The TCP port.
        port: u16,
        /// Who we are and whom we trust.
        config: Arc<rustls::ClientConfig>,
    },
}

impl Endpoint {
    /// An endpoint over TCP and mutual TLS.
    pub fn tls(
        host: &str,
        port: u16,
        trust: &Trust,
        identity: &Identity,
    ) -> Result<Self, ClientError> {
        let config = Arc::new(tls::config(trust, identity)?);
        Ok(Self::Tls {
            host: host.to_owned(),
            port,
            config,
        })
    }

    /// The value of the Host header.
    pub(super) fn authority(&self) -> String {
        match self {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tls { host, port, .. } => authority(host, *port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
            Endpoint::Tls { host, port, .. } => f.write_str(&authority(host, *port)),
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A byte stream to the host, whatever it runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects, with TLS where the endpoint has it.
pub(super) async fn stream(endpoint: &Endpoint) -> Result<Box<dyn Stream>, ClientError> {
    let connecting = async {
        let failed = |source| ClientError::Connect {
            host: endpoint.to_string(),
            source,
        };
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }
            Endpoint::Tls { host, port, config } => {
                let tcp = tcp(host, *port).await?;
                let name = tls::server_name(host)?;
                let stream = TlsConnector::from(config.clone())
                    .connect(name, tcp)
                    .await
                    .map_err(failed)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| ClientError::Timeout {
            host: endpoint.to_string(),
            seconds: CONNECT_TIMEOUT.as_secs(),
        })?
}

/// A TCP connection to the first of the host's addresses that takes it.
pub(super) async fn tcp(host: &str, port: u16) -> Result<TcpStream, ClientError> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in resolve::addresses(host).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => {
                // Small frames of a terminal must not wait for each other.
                stream
                    .set_nodelay(true)
                    .map_err(|source| ClientError::Connect {
                        host: host.to_owned(),
                        source,
                    })?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(ClientError::Connect {
        host: authority(host, port),
        source: last,
    })
}

/// An HTTP connection; its other half runs by itself until either side closes.
pub(super) async fn http(endpoint: &Endpoint) -> Result<SendRequest<Body>, ClientError> {
    let stream = stream(endpoint).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ClientError::exchange(endpoint, error))?;
    tokio::spawn(async move {
        // What went wrong on the connection reaches the request it went wrong for.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Sends a request and waits for the answer's head.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> Result<Response<Incoming>, ClientError> {
    sender
        .send_request(super::addressed(endpoint, request))
        .await
        .map_err(|error| ClientError::exchange(endpoint, error))
}

/// Sends a request on a connection that was used before, if there is one and it
/// still takes it; otherwise on a new one.
pub(super) async fn reuse(
    endpoint: &Endpoint,
    reused: Option<SendRequest<Body>>,
    request: Request<Body>,
) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
    let mut request = super::addressed(endpoint, request);
    if let Some(mut sender) = reused {
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, sender)),
            // The host had closed it: the request comes back unsent.
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(ClientError::exchange(endpoint, error.into_error())),
            },
        }
    }
    let mut sender = http(endpoint).await?;
    let response = exchange(endpoint, &mut sender, request).await?;
    Ok((response, sender))
}
