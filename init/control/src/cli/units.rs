//! `orlop start`, `stop`, `restart` and `rm`: the same for each unit named.

use super::failure::{Failure, Outcome};
use super::output::print;
use crate::client::{Client, ClientError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The units
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<String>,
}

pub(super) async fn start(client: &Client, args: &Args) -> Outcome {
    each(args, async |name| client.start(name).await.map(drop)).await
}

pub(super) async fn stop(client: &Client, args: &Args) -> Outcome {
    each(args, async |name| client.stop(name).await.map(drop)).await
}

pub(super) async fn restart(client: &Client, args: &Args) -> Outcome {
    each(args, async |name| client.restart(name).await.map(drop)).await
}

pub(super) async fn remove(client: &Client, args: &Args) -> Outcome {
    each(args, async |name| client.remove(name).await).await
}

/// Does it for every unit, and fails at the end when it failed for one.
async fn each(args: &Args, call: impl AsyncFn(&str) -> Result<(), ClientError>) -> Outcome {
    let mut failed = Vec::new();
    for name in &args.units {
        match call(name).await {
            Ok(()) => print(&format!("{name}\n"))?,
            // The others would fail the same way.
            Err(error) if error.is_transport() => return Err(error.into()),
            Err(error) => failed.push(error),
        }
    }
    match failed.pop() {
        None => Ok(()),
        Some(last) => {
            for error in failed {
                Failure::from(error).report();
            }
            Err(last.into())
        }
    }
}
