//! `orlop ps`.

use jiff::Timestamp;

use super::failure::Outcome;
use super::output::{Format, print, show};
use super::table::{since, table};
use crate::client::Client;
use crate::types::{HealthState, UnitState, UnitStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    let units = client.units().await?;
    if args.quiet {
        return print(
            &units
                .iter()
                .map(|unit| format!("{}\n", unit.name))
                .collect::<String>(),
        );
    }
    show(format, &units, |units| text(units, Timestamp::now()))
}

fn text(units: &[UnitStatus], now: Timestamp) -> String {
    let rows = units
        .iter()
        .map(|unit| {
            let ports: Vec<String> = unit.ports.iter().map(ToString::to_string).collect();
            vec![
                unit.name.clone(),
                unit.image.clone(),
                state(unit, now),
                unit.address
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                ports.join(", "),
            ]
        })
        .collect();
    table(&["NAME", "IMAGE", "STATUS", "ADDRESS", "PORTS"], rows)
}

/// A unit's state in few words: `running 5 minutes (healthy)`.
pub(super) fn state(unit: &UnitStatus, now: Timestamp) -> String {
    let mut text = unit.state.as_str().to_owned();
    match unit.state {
        UnitState::Running => {
            if let Some(started) = unit.started_at {
                text.push_str(&format!(" {}", since(started, now)));
            }
            if let Some(health) = unit.health {
                text.push_str(match health {
                    HealthState::Starting => " (health starting)",
                    HealthState::Healthy => " (healthy)",
                    HealthState::Unhealthy => " (unhealthy)",
                });
            }
        }
        UnitState::Stopped
        | UnitState::Waiting
        | UnitState::Starting
        | UnitState::Stopping
        | UnitState::Backoff
        | UnitState::Exited
        | UnitState::Failed
        | UnitState::Rejected => {
            if let Some(exit) = &unit.last_exit {
                let how = match (exit.code, exit.signal) {
                    (Some(code), _) => format!("({code})"),
                    (None, Some(signal)) => format!("(signal {signal})"),
                    (None, None) => "(?)".to_owned(),
                };
                text.push_str(&format!(" {how} {} ago", since(exit.at, now)));
            }
        }
    }
    if !unit.diagnostics.is_empty() && unit.state != UnitState::Rejected {
        text.push_str(", new file rejected");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{Desired, Diagnostic, LastExit, PortStatus, Protocol};

    pub(in crate::cli) fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    pub(in crate::cli) fn unit(name: &str, state: UnitState) -> UnitStatus {
        UnitStatus {
            name: name.into(),
            description: String::new(),
            desired: Desired::Started,
            state,
            health: None,
            reason: None,
            diagnostics: Vec::new(),
            image: "localhost/demo:1".into(),
            pid: None,
            container_id: None,
            address: None,
            ports: Vec::new(),
            started_at: None,
            restarts: 0,
            retry_at: None,
            last_exit: None,
            enabled: true,
            source: format!("/etc/orlop/units/{name}.toml"),
        }
    }

    #[test]
    fn table_of_units() {
        let mut web = unit("web", UnitState::Running);
        web.health = Some(HealthState::Healthy);
        web.started_at = Some("2026-11-21T09:55:00Z".parse().unwrap());
        web.address = Some([10, 89, 0, 2].into());
        let port = PortStatus {
            host_ip: None,
            host: 80,
            container: 8000,
            protocol: Protocol::Tcp,
        };
        web.ports = vec![port];
        let mut job = unit("job", UnitState::Backoff);
        let at = "2026-11-21T09:59:58Z".parse().unwrap();
        job.last_exit = Some(LastExit {
            code: None,
            signal: Some(9),
            out_of_memory: true,
            at,
        });
        let mut old = unit("old", UnitState::Stopped);
        old.diagnostics = vec![Diagnostic {
            file: "old.toml".into(),
            line: 1,
            column: 1,
            message: "empty".into(),
            help: None,
        }];
        assert_eq!(
            text(&[web, job, old], now()),
            "\
NAME   IMAGE              STATUS                             ADDRESS     PORTS
web    localhost/demo:1   running 5 minutes (healthy)        10.89.0.2   80->8000/tcp
job    localhost/demo:1   backoff (signal 9) 2 seconds ago
old    localhost/demo:1   stopped, new file rejected
"
        );
        assert_eq!(
            text(&[], now()),
            "NAME   IMAGE   STATUS   ADDRESS   PORTS\n"
        );
    }
}
