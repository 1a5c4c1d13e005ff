//! The ways in: the API, the buses, the console. What stands in the way of one
//! is a warning: containers run without them.
//!
//! Containers come first. Only the buses are there before, as units may hold
//! their sockets; the rest is opened while the first containers are being made.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orlop_control::types::Role;
use tokio::sync::oneshot;

use crate::api::ApiConfig;
use crate::container::Tools;
use crate::handle::Handle;
use crate::host::Host;

/// What came of opening them.
#[derive(Debug, Clone, Default)]
pub struct WaysIn {
    /// The fingerprint of the API's certificate, when it listens on the network.
    pub fingerprint: Option<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Serves the buses.
pub fn buses(handle: &Handle, tools: &Tools, host: &mut Host) {
    let paths = &tools.paths;
    bus(handle, &paths.bus_socket(), 0o600, Role::Admin, host);
    for role in [Role::Reader, Role::Operator, Role::Admin] {
        let socket = paths.bus_dir(role.as_str()).join("bus.sock");
        // The users of a container's namespace are others to the host.
        bus(handle, &socket, 0o666, role, host);
    }
    // The sockets in there are open to all who reach them: containers, by their
    // mounts, and root.
    let bus = paths.run().join("bus");
    if let Err(error) = std::fs::set_permissions(bus, Permissions::from_mode(0o700)) {
        host.warnings
            .push(format!("the bus cannot be closed to others: {error}"));
    }
}

fn bus(handle: &Handle, socket: &Path, mode: u32, role: Role, host: &mut Host) {
    let made = socket.parent().map_or(Ok(()), std::fs::create_dir_all);
    match made.and_then(|()| crate::bus::serve(handle.clone(), socket, mode, role)) {
        Ok(serve) => {
            tokio::spawn(serve);
        }
        Err(error) => host
            .warnings
            .push(format!("no bus at {}: {error}", socket.display())),
    }
}

/// Opens the API and the console once the owner has `begun`, for good; what
/// came of it is in `host.ways_in` then.
pub async fn open(handle: Handle, tools: Tools, host: Host, begun: oneshot::Receiver<()>) {
    // The owner is gone, and so is all this, in a moment.
    if begun.await.is_err() {
        return;
    }
    let paths = &tools.paths;
    let config = ApiConfig {
        unix_path: paths.api_socket(),
        listen: host.config.api.address(),
        client_ca_pem: host.client_ca(),
        state_dir: paths.state(),
        host_name: host.config.hostname().to_owned(),
    };
    let mut came = WaysIn::default();
    let mut port = None;
    match crate::api::serve(handle.clone(), config).await {
        Ok(server) => {
            port = server.address.map(|address| address.port());
            let problem = server.problem.as_ref();
            came.warnings.extend(problem.map(ToString::to_string));
            tokio::spawn(server.run());
        }
        Err(error) => came.warnings.push(error.to_string()),
    }
    if let Some(network) = &tools.network
        && let Err(error) = network.set_api_port(port).await
    {
        came.warnings
            .push(format!("the API's port cannot be opened: {error}"));
    }
    came.fingerprint = crate::api::Identity::fingerprint_in(&paths.state())
        .map(|fingerprint| fingerprint.to_string())
        .filter(|_| port.is_some());
    host.opened(came);
    let screen = host.config.console.screen;
    crate::console::show(handle, &paths.console(), screen, port).await;
}
