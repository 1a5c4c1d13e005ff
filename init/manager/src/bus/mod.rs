//! The D-Bus interface `org.orlop.Manager1`, a thin adapter over the same handle as the API.
//!
//! There is no bus daemon: each client speaks with the manager alone, over a
//! socket. Holding that socket is the authorisation, and the socket gives the
//! role; what a client claims to be is not asked, since user ids differ between
//! user namespaces.
//!
//! `/org/orlop/Manager1` is the manager, `/org/orlop/unit/NAME` each unit. What
//! can be done here, the HTTP API does by the same call.

mod error;
mod follow;
mod manager;
mod names;
mod sasl;
mod socket;
#[cfg(test)]
mod tests;
mod unit;

use std::fs::{self, Permissions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_control::types::Role;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use zbus::Guid;
use zbus::connection::Builder;

use crate::handle::Handle;
use manager::Manager;
use names::MANAGER_PATH;

/// Clients of one socket at a time.
const CONNECTIONS_MAX: usize = 16;
/// Messages of one client that may wait.
const QUEUED_MAX: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// How long a client's greeting may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when a client cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the socket at `path`, with the permissions `mode`, and serves it: each
/// client has `role`. The result runs until it is dropped.
///
/// The socket is another one after each start of the manager, under the same
/// path: whoever is to go on reaching it needs the directory that it is in, not
/// the socket itself.
pub fn serve(
    handle: Handle,
    path: &Path,
    mode: u32,
    role: Role,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let listener = bind(path, mode)?;
    Ok(accept(handle, listener, role))
}

/// Made beside and renamed, so that there is never none where there was one.
fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, Permissions::from_mode(mode))?;
    fs::rename(&beside, path)?;
    Ok(listener)
}

async fn accept(handle: Handle, listener: UnixListener, role: Role) {
    let clients = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = clients.clone().try_acquire_owned() else {
            continue;
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            // How a connection ends concerns nobody but its client.
            let _ = client(handle, stream, role).await;
            drop(permit);
        });
    }
}

/// Serves one client until it leaves.
async fn client(handle: Handle, mut stream: UnixStream, role: Role) -> zbus::Result<()> {
    let guid = Guid::generate();
    tokio::time::timeout(GREETING_TIMEOUT, sasl::greet(&mut stream, guid.as_str()))
        .await
        .map_err(|_| zbus::Error::Handshake("it took too long".into()))??;
    // Before the units are listed, so that nothing happens unseen in between.
    let events = handle.events();
    let connection = Builder::authenticated_socket(socket::Bounded(stream), guid)
        .p2p()
        .max_queued(QUEUED_MAX)
        .serve_at(MANAGER_PATH, Manager::new(handle.clone(), role))
        .build()
        .await?;
    tokio::select! {
        () = connection.closed() => Ok(()),
        outcome = follow::follow(&connection, &handle, role, events) => outcome,
    }
}
