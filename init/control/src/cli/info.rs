//! `orlop info`.

use super::failure::Outcome;
use super::output::{Format, show};
use super::table::{bytes, list};
use crate::client::Client;
use crate::types::HostStatus;

pub(super) async fn run(client: &Client, format: Format) -> Outcome {
    show(format, &client.status().await?, text)
}

fn text(host: &HostStatus) -> String {
    let uplinks: Vec<String> = host
        .uplinks
        .iter()
        .map(|uplink| {
            let mut line = format!("{} {}", uplink.name, uplink.addresses.join(" "));
            if let Some(gateway) = uplink.gateway {
                line.push_str(&format!(" via {gateway}"));
            }
            if let Some(problem) = &uplink.problem {
                line.push_str(&format!(" ({problem})"));
            }
            line
        })
        .collect();
    let phases: Vec<String> = host
        .boot_phases
        .iter()
        .map(|phase| format!("{:>6} ms  {}", phase.ms, phase.name))
        .collect();
    let memory = format!(
        "{} of {} available",
        bytes(host.memory_available),
        bytes(host.memory_total)
    );
    list(&[
        ("Name", host.name.clone()),
        ("Version", host.version.clone()),
        ("Slot", host.slot.clone()),
        ("Installation", host.serial.to_string()),
        ("Kernel", host.kernel.clone()),
        ("Architecture", host.architecture.clone()),
        ("CPUs", host.cpus.to_string()),
        ("Memory", memory),
        ("State", host.state.clone()),
        ("State size", bytes(host.state_size)),
        ("State free", bytes(host.state_free)),
        ("Watchdog", host.watchdog.clone()),
        ("Units", host.units.total.to_string()),
        ("Uplinks", uplinks.join("\n")),
        ("Machine id", host.machine_id.clone()),
        ("Boot id", host.boot_id.clone()),
        ("Clock", host.time.to_string()),
        ("Fingerprint", host.fingerprint.clone().unwrap_or_default()),
        ("Boot", phases.join("\n")),
        ("Warnings", host.warnings.join("\n")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BootPhase;

    #[test]
    fn says_what_there_is() {
        let host = HostStatus {
            name: "demo".into(),
            boot_phases: vec![BootPhase {
                name: "mount root".into(),
                ms: 120,
            }],
            ..HostStatus::default()
        };
        let text = text(&host);
        assert!(text.contains("   120 ms  mount root\n"), "{text}");
        assert!(!text.contains("Fingerprint"), "{text}");
    }
}
