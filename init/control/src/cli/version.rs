//! `orlop version`.

use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::output::{Format, show};
use super::table::list;
use crate::client::Client;
use crate::types::Version;

#[derive(Debug, Serialize)]
struct Versions {
    client: &'static str,
    server: Option<Version>,
}

/// Prints our version even when there is no host to ask.
pub(super) async fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    format: Format,
) -> Outcome {
    let server = match client() {
        Ok(client) => client.version().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let (server, failure) = match server {
        Ok(server) => (Some(server), None),
        Err(failure) => (None, Some(failure)),
    };
    show(
        format,
        &Versions {
            client: env!("CARGO_PKG_VERSION"),
            server,
        },
        text,
    )?;
    failure.map_or(Ok(()), Err)
}

fn text(versions: &Versions) -> String {
    let mut rows = vec![("Client", versions.client.to_owned())];
    if let Some(server) = &versions.server {
        rows.push(("Host", server.host.clone()));
        rows.push(("Manager", server.manager.clone()));
        rows.push(("API", server.api.clone()));
        rows.push((
            "Kernel",
            format!("{} ({})", server.kernel, server.architecture),
        ));
    }
    list(&rows)
}
