//! `orlop start`, `stop`, `restart` and `rm`: the same for each unit named, and
//! done when it has happened.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Failure, Outcome};
use super::output::print;
use crate::client::{Client, ClientError};
use crate::types::{ApiError, Desired, UnitState, UnitStatus};

/// How often a unit is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// After so long it is said what is waited for.
const SILENT: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The units
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<String>,
    /// Return once the host has taken note, not when it is done
    #[arg(long)]
    no_wait: bool,
}

/// What a unit is to become.
enum Goal {
    Started,
    Stopped,
    /// Its file was at `source`. Another one, of the image for instance, may be
    /// the unit's then.
    Removed {
        source: String,
    },
}

pub(super) async fn start(client: &Client, args: &Args) -> Outcome {
    let ask = async |name: &str| client.start(name).await.map(|_| Goal::Started);
    each(client, args, ask).await
}

pub(super) async fn stop(client: &Client, args: &Args) -> Outcome {
    let ask = async |name: &str| client.stop(name).await.map(|_| Goal::Stopped);
    each(client, args, ask).await
}

pub(super) async fn restart(client: &Client, args: &Args) -> Outcome {
    let ask = async |name: &str| client.restart(name).await.map(|_| Goal::Started);
    each(client, args, ask).await
}

pub(super) async fn remove(client: &Client, args: &Args) -> Outcome {
    let ask = async |name: &str| {
        let source = client.unit(name).await?.source;
        client.remove(name).await?;
        Ok(Goal::Removed { source })
    };
    each(client, args, ask).await
}

/// Asks for it for every unit, waits for each, and fails at the end when it
/// failed for one.
async fn each(
    client: &Client,
    args: &Args,
    ask: impl AsyncFn(&str) -> Result<Goal, ClientError>,
) -> Outcome {
    let mut failed: Vec<Failure> = Vec::new();
    let mut asked = Vec::new();
    for name in &args.units {
        match ask(name).await {
            Ok(goal) => asked.push((name, goal)),
            // The others would fail the same way.
            Err(error) if error.is_transport() => return Err(error.into()),
            Err(error) => failed.push(error.into()),
        }
    }
    for (name, goal) in asked {
        match args.no_wait {
            true => print(&format!("{name}\n"))?,
            false => match wait(client, name, &goal).await? {
                Ok(()) => print(&format!("{name}\n"))?,
                Err(why) => failed.push(why),
            },
        }
    }
    let Some(last) = failed.pop() else {
        return Ok(());
    };
    for failure in failed {
        failure.report();
    }
    Err(last)
}

/// Waits until the unit is what it is to become, or cannot be.
async fn wait(client: &Client, name: &str, goal: &Goal) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut said = None;
    loop {
        let status = match client.unit(name).await {
            Ok(status) => Some(status),
            Err(ClientError::Api(error)) if error.status == 404 => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(end) = reached(goal, name, status.as_ref()) {
            return Ok(end);
        }
        let reason = status.map(|status| status.reason.unwrap_or_else(|| status.state.to_string()));
        if began.elapsed() >= SILENT && reason != said {
            eprintln!("orlop: {name}: {}", reason.as_deref().unwrap_or("gone"));
            said = reason;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How it ended, if it has; `status` is none when there is no such unit.
fn reached(goal: &Goal, name: &str, status: Option<&UnitStatus>) -> Option<Outcome> {
    let Some(status) = status else {
        return Some(match goal {
            Goal::Removed { source: _ } => Ok(()),
            Goal::Started | Goal::Stopped => {
                Err(ClientError::from(ApiError::unit_not_found(name)).into())
            }
        });
    };
    match goal {
        Goal::Removed { source } => (status.source != *source).then_some(Ok(())),
        Goal::Started => started(name, status),
        Goal::Stopped => match status.state {
            UnitState::Stopped | UnitState::Exited | UnitState::Failed | UnitState::Rejected => {
                Some(Ok(()))
            }
            _ if status.desired == Desired::Started => {
                Some(Err(Failure::new(format!("{name} was started meanwhile"))))
            }
            UnitState::Waiting
            | UnitState::Starting
            | UnitState::Running
            | UnitState::Stopping
            | UnitState::Backoff => None,
        },
    }
}

fn started(name: &str, status: &UnitStatus) -> Option<Outcome> {
    let reason = status.reason.as_deref().unwrap_or("for an unknown reason");
    match status.state {
        // A job may have ended by now.
        UnitState::Running | UnitState::Exited => Some(Ok(())),
        UnitState::Failed | UnitState::Rejected => {
            Some(Err(Failure::new(format!("{name} did not start: {reason}"))
                .help(format!("see `orlop logs {name}`"))))
        }
        UnitState::Backoff => Some(Err(Failure::new(format!("{name} did not start: {reason}"))
            .help(format!("it will be tried again; see `orlop logs {name}`")))),
        _ if status.desired == Desired::Stopped => {
            Some(Err(Failure::new(format!("{name} was stopped meanwhile"))))
        }
        UnitState::Stopped | UnitState::Waiting | UnitState::Starting | UnitState::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ps::tests::unit;
    use super::*;

    fn end(goal: Goal, state: UnitState, desired: Desired) -> Option<Result<(), String>> {
        let mut status = unit("web", state);
        status.desired = desired;
        status.reason = Some("exited with code 3".to_owned());
        let end = reached(&goal, "web", Some(&status));
        end.map(|end| end.map_err(|failure| format!("{failure:?}")))
    }

    #[test]
    fn a_start_ends_with_the_container_running_or_with_the_reason() {
        let end = |state, desired| end(Goal::Started, state, desired);
        for state in [UnitState::Running, UnitState::Exited] {
            assert_eq!(end(state, Desired::Started), Some(Ok(())));
        }
        for state in [UnitState::Failed, UnitState::Backoff, UnitState::Rejected] {
            let failure = end(state, Desired::Started).and_then(Result::err);
            assert!(failure.is_some_and(|it| it.contains("exited with code 3")));
        }
        for state in [UnitState::Waiting, UnitState::Starting, UnitState::Stopping] {
            assert_eq!(end(state, Desired::Started), None);
            let failure = end(state, Desired::Stopped).and_then(Result::err);
            assert!(failure.is_some_and(|it| it.contains("stopped meanwhile")));
        }
    }

    #[test]
    fn a_stop_ends_with_no_container_left() {
        let end = |state, desired| end(Goal::Stopped, state, desired);
        for state in [UnitState::Running, UnitState::Stopping, UnitState::Backoff] {
            assert_eq!(end(state, Desired::Stopped), None);
            let failure = end(state, Desired::Started).and_then(Result::err);
            assert!(failure.is_some_and(|it| it.contains("started meanwhile")));
        }
        for state in [UnitState::Stopped, UnitState::Exited, UnitState::Failed] {
            assert_eq!(end(state, Desired::Stopped), Some(Ok(())));
        }
    }

    #[test]
    fn a_removal_ends_when_the_unit_is_unknown_or_of_another_file() {
        let removed = || Goal::Removed {
            source: "/etc/orlop/units/web.toml".to_owned(),
        };
        assert_eq!(end(removed(), UnitState::Stopping, Desired::Stopped), None);
        assert!(matches!(reached(&removed(), "web", None), Some(Ok(()))));
        assert!(matches!(reached(&Goal::Started, "web", None), Some(Err(_))));
        let mut baked = unit("web", UnitState::Running);
        baked.source = "/usr/lib/orlop/units/web.toml".to_owned();
        assert!(matches!(
            reached(&removed(), "web", Some(&baked)),
            Some(Ok(()))
        ));
    }
}
