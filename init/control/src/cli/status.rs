//! `orlop status`.

use std::process::ExitCode;

use jiff::Timestamp;

use super::failure::Failure;
use super::output::{Format, show};
use super::ps::state;
use super::table::{bytes, duration, list, since};
use crate::client::Client;
use crate::types::{HostStatus, UnitCounts, UnitState, UnitStatus};

#[derive(Debug, clap::Args)]
#[command(after_help = "With a UNIT the exit code is 0 when it is as it should be, 1 when not.")]
pub(super) struct Args {
    /// The unit; the host as a whole without one
    unit: Option<String>,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Result<ExitCode, Failure> {
    let now = Timestamp::now();
    if let Some(name) = &args.unit {
        let unit = client.unit(name).await?;
        show(format, &unit, |unit| unit_text(unit, now))?;
        return Ok(if unit.is_well() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        });
    }
    let host = client.status().await?;
    match format {
        Format::Json => show(format, &host, |_| String::new())?,
        Format::Table => {
            let units = client.units().await?;
            super::output::print(&host_text(&host, &units, now))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unit_text(unit: &UnitStatus, now: Timestamp) -> String {
    let joined = |lines: Vec<String>| lines.join("\n");
    let mut rows = vec![
        ("Unit", unit.name.clone()),
        ("Description", unit.description.clone()),
        ("Status", state(unit, now)),
        ("Reason", unit.reason.clone().unwrap_or_default()),
        ("File", unit.source.clone()),
        (
            "Findings",
            joined(unit.diagnostics.iter().map(ToString::to_string).collect()),
        ),
        ("Image", unit.image.clone()),
        ("Container", unit.container_id.clone().unwrap_or_default()),
        (
            "Process",
            unit.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        ),
        (
            "Address",
            unit.address
                .map(|address| address.to_string())
                .unwrap_or_default(),
        ),
        (
            "Ports",
            joined(unit.ports.iter().map(ToString::to_string).collect()),
        ),
    ];
    if unit.restarts > 0 {
        rows.push(("Restarts", unit.restarts.to_string()));
    }
    if let Some(retry) = unit.retry_at {
        rows.push(("Next try", format!("in {}", since(now, retry))));
    }
    if let Some(exit) = &unit.last_exit {
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "unknown".to_owned(),
        };
        let memory = if exit.out_of_memory {
            ", out of memory"
        } else {
            ""
        };
        rows.push((
            "Last exit",
            format!("{how}{memory}, {} ago", since(exit.at, now)),
        ));
    }
    // A file that is not understood says nothing of that.
    if !unit.enabled && unit.state != UnitState::Rejected {
        rows.push(("Enabled", "no: it does not start with the host".to_owned()));
    }
    list(&rows)
}

fn host_text(host: &HostStatus, units: &[UnitStatus], now: Timestamp) -> String {
    let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
    let uplinks: Vec<String> = host
        .uplinks
        .iter()
        .filter_map(|uplink| {
            uplink
                .problem
                .as_ref()
                .map(|problem| format!("{}: {problem}", uplink.name))
        })
        .collect();
    let state_use = match (host.state_detail.as_str(), host.state_size) {
        ("", 0) => host.state.clone(),
        ("", size) => {
            format!(
                "{}, {} of {} free",
                host.state,
                bytes(host.state_free),
                bytes(size)
            )
        }
        (detail, _) => format!("{}: {detail}", host.state),
    };
    let mut text = list(&[
        ("Host", host.name.clone()),
        (
            "Version",
            format!(
                "{} in slot {}, installation {}",
                host.version, host.slot, host.serial
            ),
        ),
        (
            "Up",
            duration(i64::try_from(host.uptime_ms / 1000).unwrap_or(i64::MAX)),
        ),
        ("Addresses", addresses.join(", ")),
        ("Uplink trouble", uplinks.join("\n")),
        ("State", state_use),
        ("Watchdog", host.watchdog.clone()),
        ("Units", counts(host.units)),
        ("Fingerprint", host.fingerprint.clone().unwrap_or_default()),
        ("Trial", trial(host)),
        ("Warnings", host.warnings.join("\n")),
    ]);
    text.push_str(&last_words(host));
    let troubled: Vec<&UnitStatus> = units.iter().filter(|unit| !unit.is_well()).collect();
    if !troubled.is_empty() {
        text.push_str("\nNot as they should be:\n");
    }
    for unit in troubled {
        let reason = unit.reason.as_deref().unwrap_or("no reason is known");
        text.push_str(&format!(
            "  {}: {}\n    {reason}\n",
            unit.name,
            state(unit, now)
        ));
        for finding in &unit.diagnostics {
            text.push_str(&format!(
                "    {}\n",
                finding.to_string().replace('\n', "\n    ")
            ));
        }
    }
    text
}

/// How the trial of the host image stands, while it is on one.
fn trial(host: &HostStatus) -> String {
    let Some(trial) = &host.trial else {
        return String::new();
    };
    let left_ms = trial.deadline_ms.saturating_sub(host.uptime_ms);
    let left = duration(i64::try_from(left_ms / 1000).unwrap_or(i64::MAX));
    let mut lines = vec![format!("decided in {left} at the latest; waits for")];
    lines.extend(trial.waits_for.iter().map(|unit| format!("  {unit}")));
    if trial.waits_for.is_empty() {
        lines = vec![format!("decided in {left} at the latest")];
    }
    lines.join("\n")
}

/// What the units wrote last that failed a host image's trial.
pub(super) fn last_words(host: &HostStatus) -> String {
    let mut text = String::new();
    if let Some(failed) = &host.failed_update {
        for unit in failed.units.iter().filter(|unit| !unit.log.is_empty()) {
            let (version, name) = (&failed.version, &unit.unit);
            text.push_str(&format!("\nLast lines of {name} on {version}:\n"));
            for line in &unit.log {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

fn counts(units: UnitCounts) -> String {
    let UnitCounts {
        total,
        running,
        unhealthy,
        changing,
        failed,
        rejected,
        stopped,
    } = units;
    let parts = [
        (running, "running"),
        (unhealthy, "unhealthy"),
        (changing, "changing"),
        (failed, "failed"),
        (rejected, "rejected"),
        (stopped, "stopped"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if parts.is_empty() {
        total.to_string()
    } else {
        format!("{total} ({})", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ps::tests::{now, unit};
    use super::*;
    use crate::types::LastExit;

    #[test]
    fn a_failed_unit_says_why() {
        let mut job = unit("job", UnitState::Failed);
        job.reason =
            Some("its command ended with code 3, and its restart policy is `never`".into());
        let at = "2026-11-21T09:58:00Z".parse().unwrap();
        job.last_exit = Some(LastExit {
            code: Some(3),
            signal: None,
            out_of_memory: false,
            at,
        });
        assert!(!job.is_well());
        assert_eq!(
            unit_text(&job, now()),
            "\
Unit:       job
Status:     failed (3) 2 minutes ago
Reason:     its command ended with code 3, and its restart policy is `never`
File:       /etc/orlop/units/job.toml
Image:      localhost/demo:1
Last exit:  exit code 3, 2 minutes ago
"
        );
    }

    #[test]
    fn a_rejected_file_is_not_said_to_be_disabled() {
        let mut off = unit("off", UnitState::Stopped);
        off.enabled = false;
        assert!(unit_text(&off, now()).contains("Enabled"));
        off.state = UnitState::Rejected;
        assert!(!unit_text(&off, now()).contains("Enabled"));
    }

    #[test]
    fn a_trial_and_one_that_failed_are_told() {
        let trial = crate::types::TrialStatus {
            deadline_ms: 100_000,
            waits_for: vec!["web: not healthy yet".to_owned()],
        };
        let failed = crate::types::FailedUpdate {
            version: "1.9".to_owned(),
            units: vec![crate::types::FailedUnit {
                unit: "web".to_owned(),
                reason: String::new(),
                log: vec!["no database".to_owned()],
            }],
            ..Default::default()
        };
        let host = HostStatus {
            uptime_ms: 60_000,
            trial: Some(trial),
            failed_update: Some(failed),
            ..HostStatus::default()
        };
        let text = host_text(&host, &[], now());
        for wanted in [
            "decided in 40 seconds at the latest; waits for",
            "  web: not healthy yet\n",
            "Last lines of web on 1.9:\n  no database\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?}: {text}");
        }
    }

    #[test]
    fn the_host_lists_what_is_wrong() {
        let mut host = HostStatus {
            name: "demo".into(),
            version: "1.0.0".into(),
            ..Default::default()
        };
        host.slot = "a".into();
        host.state = "tmpfs".into();
        host.state_detail = "nothing lasts; reset it from the console".into();
        let mut web = unit("web", UnitState::Waiting);
        web.reason = Some("db is not ready".into());
        let text = host_text(&host, &[web, unit("db", UnitState::Running)], now());
        assert!(text.contains("tmpfs: nothing lasts"), "{text}");
        assert!(
            text.ends_with("  web: waiting\n    db is not ready\n"),
            "{text}"
        );
    }
}
