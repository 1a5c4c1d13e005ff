//! The ways in: the API, the buses, the console. What stands in the way of one
//! is a warning: containers run without them.
//!
//! Containers come first. Only the buses are there before, as units may hold
//! their sockets; the rest is opened while the first containers are being made.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use orlop_control::types::{Event, Role};
use tokio::sync::{broadcast, oneshot};

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

/// The API and the console, before they are open.
#[derive(Debug)]
pub struct Opening {
    handle: Handle,
    tools: Tools,
    host: Host,
    /// What happens meanwhile, for the API and for the console.
    events: [broadcast::Receiver<Event>; 2],
}

impl Opening {
    /// Events are heard from now on.
    pub fn new(handle: Handle, tools: Tools, host: Host) -> Opening {
        let events = [handle.events(), handle.events()];
        Opening {
            handle,
            tools,
            host,
            events,
        }
    }

    /// Opens them once the owner has `begun`, for good; what came of it is in
    /// `host.ways_in` then.
    pub async fn open(self, begun: oneshot::Receiver<()>) {
        // The owner is gone, and so is all this, in a moment.
        if begun.await.is_err() {
            return;
        }
        let (paths, host) = (&self.tools.paths, &self.host);
        let config = ApiConfig {
            unix_path: paths.api_socket(),
            listen: host.config.api.address(),
            client_ca_pem: host.client_ca(),
            state_dir: paths.state(),
            host_name: host.config.hostname().to_owned(),
        };
        let [for_api, for_console] = self.events;
        let mut came = WaysIn::default();
        let mut port = None;
        match crate::api::serve(self.handle.clone(), for_api, config).await {
            Ok(server) => {
                port = server.address.map(|address| address.port());
                let problem = server.problem.as_ref();
                came.warnings.extend(problem.map(ToString::to_string));
                tokio::spawn(server.run());
            }
            Err(error) => came.warnings.push(error.to_string()),
        }
        came.fingerprint = crate::api::Identity::fingerprint_in(&paths.state())
            .map(|fingerprint| fingerprint.to_string())
            .filter(|_| port.is_some());
        host.opened(came);
        if let Some(network) = self.tools.network.clone() {
            tokio::spawn(async move {
                if let Err(error) = network.set_api_port(port).await {
                    tracing::warn!("the API's port cannot be opened: {error}");
                }
            });
        }
        let screen = host.config.console.screen;
        crate::console::show(self.handle, for_console, &paths.console(), screen, port).await;
    }
}
