//! Waits for a host that reboots, until the version that it boots is kept or given up.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::failure::Failure;
use super::follow::LOOK_MAX;
use super::goal::{Goal, Verdict, judge};
use crate::client::{Client, ClientError};
use crate::types::{HostStatus, InstalledVersion};

/// How often the host is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// For how long it is waited at most.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a host may run another version before that is the end of it. It finds out first why
/// the other failed.
const ASTRAY_MAX: Duration = Duration::from_secs(60);

/// What an interrupted wait comes to.
pub(in super::super) const HOST_DECIDES: &str =
    "the host goes on by itself: `orlop status` and `orlop versions` say what came of it";

/// Waits until the version of `goal` runs and is good.
pub(in super::super) async fn wait(
    client: &Client,
    goal: &Goal,
) -> Result<InstalledVersion, Failure> {
    let version = &goal.version;
    let began = Instant::now();
    let mut astray: Option<Instant> = None;
    let mut said = String::new();
    loop {
        let waits_for = match look(client, goal).await? {
            Verdict::Kept(version) => return Ok(version),
            Verdict::Failed { reason, details } => {
                return Err(not_kept(version, &reason).details(details));
            }
            Verdict::Astray(reason) => {
                if astray.get_or_insert_with(Instant::now).elapsed() >= ASTRAY_MAX {
                    return Err(not_kept(version, &reason));
                }
                reason
            }
            Verdict::Wait(reason) => {
                astray = None;
                reason
            }
        };
        if began.elapsed() >= WAIT_MAX {
            let minutes = WAIT_MAX.as_secs() / 60;
            let failure = Failure::new(format!(
                "{version}: nothing was decided within {minutes} minutes: {waits_for}"
            ));
            return Err(failure.help(HOST_DECIDES));
        }
        if waits_for != said {
            eprintln!("orlop: {version}: {waits_for}");
            said = waits_for;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn not_kept(version: &str, reason: &str) -> Failure {
    Failure::new(format!("{version} was not kept: {reason}"))
        .help("`orlop versions` lists what is installed, `orlop status` says how the host is")
}

/// Looks once.
async fn look(client: &Client, goal: &Goal) -> Result<Verdict, Failure> {
    let away = || Ok(Verdict::Wait("the host is away".to_owned()));
    match timeout(LOOK_MAX, snapshot(client)).await {
        Ok(Ok((host, versions))) => Ok(judge(goal, &host, versions.as_deref())),
        Ok(Err(error)) if passes(&error) => away(),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => away(),
    }
}

type Snapshot = (HostStatus, Option<Vec<InstalledVersion>>);

async fn snapshot(client: &Client) -> Result<Snapshot, ClientError> {
    let host = client.status().await?;
    match client.versions().await {
        Ok(versions) => Ok((host, Some(versions))),
        // It has not read them yet.
        Err(ClientError::Api(error)) if error.status == 503 => Ok((host, None)),
        Err(error) => Err(error),
    }
}

/// Whether it may be well again when the host is up: its name may be its own business, too.
fn passes(error: &ClientError) -> bool {
    error.is_passing() || matches!(error, ClientError::Resolve { .. })
}
