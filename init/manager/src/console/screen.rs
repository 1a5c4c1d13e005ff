//! The screen's text. Pure.

use orlop_control::types::{HostStatus, UnitStatus};

/// Keeps what a container or a file chose to say from driving the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn cut(line: &str, cols: usize) -> String {
    let line = printable(line);
    if line.chars().count() <= cols {
        return line;
    }
    let kept: String = line.chars().take(cols.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn unit_line(unit: &UnitStatus, width: usize) -> String {
    let state = match unit.health {
        Some(health) => format!("{} ({})", unit.state, health.as_str()),
        None => unit.state.to_string(),
    };
    let why = unit.reason.clone().unwrap_or_default();
    let place = unit.address.map(|ip| ip.to_string()).unwrap_or_default();
    let rest = if why.is_empty() { place } else { why };
    format!("  {:width$}  {state:20}  {rest}", unit.name)
}

/// At most `rows` lines of at most `cols` columns, the last without its end.
pub(super) fn render(
    host: &HostStatus,
    units: &[UnitStatus],
    api_port: Option<u16>,
    rows: usize,
    cols: usize,
) -> String {
    let slot = if host.slot.is_empty() {
        "?"
    } else {
        &host.slot
    };
    let mut lines = vec![format!(
        "{} {}   slot {slot}   kernel {}",
        host.name, host.version, host.kernel
    )];
    let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
    lines.push(match addresses.as_slice() {
        [] => "address   none yet".to_owned(),
        some => format!("address   {}", some.join(", ")),
    });
    lines.push(match (api_port, host.addresses.first()) {
        (Some(port), Some(address)) => format!("API       https://{address}:{port}"),
        (Some(port), None) => format!("API       port {port}"),
        (None, _) => "API       on the host only; [api] client-ca opens it".to_owned(),
    });
    if let Some(fingerprint) = &host.fingerprint {
        // On a line of its own: with a label it would not fit in 80 columns.
        lines.push("key, for orlop trust:".to_owned());
        lines.push(fingerprint.clone());
    }
    lines.extend(host.warnings.iter().map(|warning| format!("! {warning}")));
    lines.push(String::new());
    let room = rows.saturating_sub(lines.len() + 1);
    let width = units.iter().map(|unit| unit.name.len()).max().unwrap_or(0);
    if units.is_empty() {
        lines.push("no units; drop one in with `orlop apply FILE`".to_owned());
    }
    let shown = if units.len() > room {
        room.saturating_sub(1)
    } else {
        units.len()
    };
    // With more units than lines, those that need a look come first.
    let mut order: Vec<&UnitStatus> = units.iter().collect();
    if units.len() > shown {
        order.sort_by_key(|unit| unit.reason.is_none());
    }
    lines.extend(
        order
            .iter()
            .take(shown)
            .map(|unit| unit_line(unit, width.min(24))),
    );
    if units.len() > shown {
        lines.push(format!("  and {} more", units.len() - shown));
    }
    lines.truncate(rows.saturating_sub(1));
    let cut: Vec<String> = lines.iter().map(|line| cut(line, cols)).collect();
    cut.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_control::types::{Desired, UnitState};
    use proptest::prelude::*;

    fn unit(name: &str, reason: Option<&str>) -> UnitStatus {
        UnitStatus {
            name: name.to_owned(),
            description: String::new(),
            desired: Desired::Started,
            state: UnitState::Running,
            health: None,
            reason: reason.map(str::to_owned),
            diagnostics: Vec::new(),
            image: String::new(),
            pid: None,
            container_id: None,
            address: None,
            ports: Vec::new(),
            started_at: None,
            restarts: 0,
            retry_at: None,
            last_exit: None,
            enabled: true,
            source: String::new(),
        }
    }

    proptest! {
        #[test]
        fn it_fits_and_cannot_drive_the_terminal(
            rows in 5_usize..60,
            cols in 20_usize..200,
            reasons in proptest::collection::vec(".{0,120}", 0..70),
        ) {
            let units: Vec<_> = reasons.iter().map(|why| unit("a-unit", Some(why))).collect();
            let host = HostStatus { warnings: reasons.clone(), ..HostStatus::default() };
            let text = render(&host, &units, Some(7470), rows, cols);
            prop_assert!(text.lines().count() < rows);
            prop_assert!(text.lines().all(|line| line.chars().count() <= cols));
            prop_assert!(!text.contains('\x1b'));
        }
    }

    #[test]
    fn it_tells_the_host_and_why_units_do_not_run() {
        let host = HostStatus {
            name: "demo".to_owned(),
            version: "1.0.0".to_owned(),
            slot: "a".to_owned(),
            kernel: "6.1.0".to_owned(),
            addresses: vec![[192, 0, 2, 7].into()],
            warnings: vec!["no room".to_owned()],
            ..HostStatus::default()
        };
        let mut broken = unit("db", Some("exited with code 1"));
        broken.state = UnitState::Backoff;
        let mut well = unit("web", None);
        well.address = Some([10, 89, 0, 2].into());
        let text = render(&host, &[broken, well], Some(7470), 25, 80);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "demo 1.0.0   slot a   kernel 6.1.0",
                "address   192.0.2.7",
                "API       https://192.0.2.7:7470",
                "! no room",
                "",
                "  db   backoff               exited with code 1",
                "  web  running               10.89.0.2",
            ]
        );
    }

    #[test]
    fn units_that_do_not_run_are_seen_first() {
        let mut units: Vec<_> = (0..40).map(|n| unit(&format!("u{n}"), None)).collect();
        units.push(unit("broken", Some("exited with code 1")));
        let text = render(&HostStatus::default(), &units, None, 25, 80);
        assert!(text.contains("broken"));
        assert!(text.contains("more"));
    }
}
