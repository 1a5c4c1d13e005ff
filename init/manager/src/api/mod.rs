//! The HTTP API, on a Unix socket for root and inside mutual TLS for the network.
//!
//! A thin layer over [`Handle`]: it checks who asks (each route names its least
//! role), bounds what a client can cost, and turns documents into calls. It
//! holds no state of units and knows nothing of how they run.

mod answer;
mod events;
mod exec;
mod host;
mod identity;
mod images;
mod limits;
mod listen;
mod ndjson;
mod openapi;
mod routes;
#[cfg(test)]
pub(crate) mod tests;
mod timed;
mod tls;
mod units;
mod update;
mod uploads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use orlop_control::types::Event;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;

pub use identity::{Identity, IdentityError};

use crate::handle::Handle;
use events::EventLog;
use uploads::Uploads;

/// How many heads of update bundles may be held for clients at once.
const HEADS_MAX: usize = 2;
/// How many commands may run in containers for clients at once.
const EXECS_MAX: usize = 16;

/// Where and for whom the API is.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The socket for root on the host itself.
    pub unix_path: PathBuf,
    /// Where to listen on the network, if at all.
    pub listen: Option<SocketAddr>,
    /// The authority (PEM) that signs clients' certificates, or why it cannot be
    /// had. Without it nothing listens on the network (I8).
    pub client_ca_pem: Result<Option<String>, String>,
    /// The host's key and certificate are in `<state_dir>/api`.
    pub state_dir: PathBuf,
    /// The name that a certificate made here carries.
    pub host_name: String,
}

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener could not be made.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// The path or address.
        at: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The host's key or certificate is unusable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The clients' authority is unusable.
    #[error("cannot use the authority that signs clients (client-ca): {0}")]
    Authority(String),
    /// An address without an authority.
    #[error("not listening on {0}: no authority for clients (client-ca) is configured")]
    NoClientCa(SocketAddr),
}

/// A served API. Dropping it ends the service.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<()>,
    /// The address it listens on, with the real port where 0 was asked for.
    pub address: Option<SocketAddr>,
    /// Why it does not listen on the network though it was asked to: the host
    /// goes on with its own socket.
    pub problem: Option<ServeError>,
}

impl Server {
    /// Waits for as long as the service lasts.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What handlers share.
#[derive(Debug)]
struct Shared {
    handle: Handle,
    events: EventLog,
    uploads: Uploads,
    execs: Arc<Semaphore>,
    /// Processes are listed for one client at a time: for each the kernel walks
    /// its whole memory.
    listing: Arc<Semaphore>,
    /// Heads of bundles are large.
    heads: Arc<Semaphore>,
    identity: PathBuf,
}

type Api = Arc<Shared>;

/// Serves the API, which tells of `events`. The host's own socket has to work;
/// what stands in the way of the network's is in [`Server::problem`].
pub async fn serve(
    handle: Handle,
    events: broadcast::Receiver<Event>,
    config: ApiConfig,
) -> Result<Server, ServeError> {
    let mut tasks = JoinSet::new();
    let shared = Arc::new(Shared {
        events: EventLog::new(events, &mut tasks),
        uploads: Uploads::new(handle.upload_dir()),
        execs: Arc::new(Semaphore::new(EXECS_MAX)),
        listing: Arc::new(Semaphore::new(1)),
        heads: Arc::new(Semaphore::new(HEADS_MAX)),
        identity: identity::directory(&config.state_dir),
        handle,
    });
    let router = aside(move || routes::router(shared)).await;
    let local = bind_local(&config.unix_path)?;
    tasks.spawn(listen::local(local, router.clone()));
    let (address, problem) = match bind_network(&config).await {
        Ok(None) => (None, None),
        Ok(Some((listener, tls))) => {
            let address = listener.local_addr().ok();
            tasks.spawn(listen::network(listener, tls, router));
            (address, None)
        }
        Err(problem) => (None, Some(problem)),
    };
    Ok(Server {
        tasks,
        address,
        problem,
    })
}

/// Does what takes long where the manager's one thread does not wait for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only a panic, and that ends the manager, or its own end do so.
        Err(_) => std::future::pending().await,
    }
}

/// The socket for root. It is made beside and renamed, so that there is never
/// one that others could open, and never none when there was one.
fn bind_local(path: &std::path::Path) -> Result<UnixListener, ServeError> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| ServeError::Listen {
        at: path.display().to_string(),
        source,
    };
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

async fn bind_network(
    config: &ApiConfig,
) -> Result<Option<(TcpListener, Arc<rustls::ServerConfig>)>, ServeError> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let ca = match &config.client_ca_pem {
        Ok(Some(ca)) => ca,
        Ok(None) => return Err(ServeError::NoClientCa(address)),
        Err(reason) => return Err(ServeError::Authority(reason.clone())),
    };
    let (config, ca) = (config.clone(), ca.clone());
    let tls = aside(move || {
        let identity = Identity::open(&config.state_dir, &config.host_name)?;
        tls::config(&identity, &ca)
    })
    .await?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            at: address.to_string(),
            source,
        })?;
    Ok(Some((listener, tls)))
}
