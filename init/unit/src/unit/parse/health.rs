//! The `[health]` table.

use std::time::Duration;

use super::container::arguments;
use crate::document::Section;
use crate::expected::{Expected, shown};
use crate::unit::{Health, Probe};
use crate::value::parse_port;

pub(super) fn read(table: Section) -> Option<Health> {
    let day = Duration::from_secs(86_400);
    let time = |key, low: Duration, default: Duration| {
        table
            .get(key)
            .and_then(|f| f.duration(low..=day))
            .unwrap_or(default)
    };
    let interval = time(
        "interval",
        Duration::from_millis(100),
        Duration::from_secs(10),
    );
    let timeout = time("timeout", Duration::from_millis(10), Duration::from_secs(5));
    let start_period = time("start-period", Duration::ZERO, Duration::ZERO);
    let retries = table
        .get("retries")
        .and_then(|f| f.integer("retries", 1..=1000))
        .unwrap_or(3);
    let gate = table.get("gate").and_then(|f| f.boolean()).unwrap_or(false);
    let probe = probe(&table);
    table.close();
    let retries = u32::try_from(retries).unwrap_or(u32::MAX);
    Some(Health {
        probe: probe?,
        interval,
        timeout,
        retries,
        start_period,
        gate,
    })
}

fn probe(table: &Section) -> Option<Probe> {
    let mut probes = Vec::new();
    if let Some(field) = table.get("exec") {
        probes.push(Some(Probe::Exec(arguments(&field))));
    }
    if let Some(field) = table.get("http") {
        probes.push(field.parse_with(http));
    }
    if let Some(field) = table.get("tcp") {
        let port = field
            .integer("port", 1..=65535)
            .and_then(|port| u16::try_from(port).ok());
        probes.push(port.map(Probe::Tcp));
    }
    if probes.len() > 1 {
        let refusal = Expected::new("[health] has more than one of exec, http and tcp");
        table.refuse(&refusal.help("keep one"));
    }
    if probes.is_empty() {
        let refusal = Expected::new("[health] does not say what to ask");
        table.refuse(&refusal.help("add http = \":8000/healthz\", tcp = 8000 or exec = [...]"));
    }
    probes.pop().flatten()
}

fn http(text: &str) -> Result<Probe, Expected> {
    let refusal = || {
        Expected::new("expected :PORT/PATH, asked of the container's own address")
            .help("for example \":8000/healthz\"")
    };
    let rest = text.strip_prefix(':').ok_or_else(refusal)?;
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    // What may stand in an HTTP/1.1 request line: visible ASCII, and no fragment.
    if path.len() > 2048 || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        let message = format!(
            "the path {} has characters that must be escaped",
            shown(path)
        );
        return Err(Expected::new(message).help("write them as %XX"));
    }
    Ok(Probe::Http {
        port: parse_port(port)?,
        path: path.to_owned(),
    })
}
