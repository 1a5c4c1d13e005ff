//! The API from outside, by clients that are not ours or not welcome.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::{ProcessList, UnitState};
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// curl with the client's certificate; and without, with garbage, with nothing.
pub(crate) fn curl_and_strangers() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "api")?)?;
    fixture::apply(&guest, &[("sleeper", SLEEPER)])?;
    let before = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;

    let units: serde_json::Value = serde_json::from_str(&fixture::curl(&guest, "/v1/units")?)?;
    ensure!(units[0]["name"] == "sleeper", "{units}");
    let document: serde_json::Value =
        serde_json::from_str(&fixture::curl(&guest, "/v1/openapi.json")?)?;
    ensure!(
        document["paths"]["/v1/units"].is_object(),
        "the document lacks /v1/units"
    );

    processes(&guest, before.pid)?;

    let address = guest.operator().address().to_owned();
    let naked = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20"])
        .arg(format!("https://{address}/v1/units"))
        .output()?;
    ensure!(
        !naked.status.success(),
        "a client without a certificate got {naked:?}"
    );
    stranger_pki(&address)?;

    // Garbage, a half-open handshake and silence, several at once.
    let mut strangers = Vec::new();
    for number in 0..40_u32 {
        let mut stranger = TcpStream::connect(&address)?;
        stranger.set_read_timeout(Some(Duration::from_millis(200)))?;
        if number % 2 == 0 {
            let _ = stranger.write_all(&[0xa5; 700]);
            let _ = stranger.read(&mut [0; 16]);
        }
        strangers.push(stranger);
    }
    // Strangers may hold the handshakes of their address (here everybody's) for
    // as long as the server is patient with them, and no longer.
    let units = guest.wait_units("an answer beside the strangers", PATIENCE, |_| true)?;
    let after = units
        .into_iter()
        .find(|unit| unit.name == "sleeper")
        .context("no sleeper")?;
    ensure!(after.pid == before.pid && after.restarts == 0, "{after:?}");
    drop(strangers);
    guest.power_off(PATIENCE)
}

/// The host's own processes and the units' are told apart, with their memory.
fn processes(guest: &Guest, sleeper: Option<i32>) -> Result<()> {
    let all: ProcessList = serde_json::from_str(&fixture::curl(guest, "/v1/host/processes")?)?;
    let one = |name: &str| {
        let mut found = all
            .processes
            .iter()
            .filter(|one| one.name.starts_with(name));
        found.next().with_context(|| format!("no {name}: {all:?}"))
    };
    for own in [one("init")?, one("orlop-manager")?] {
        ensure!(own.unit.is_none(), "{own:?}");
        ensure!(own.memory.is_some_and(|bytes| bytes > 1 << 18), "{own:?}");
    }
    let of_unit: ProcessList = guest.operator().json(&["top", "sleeper"])?;
    let pids: Vec<u32> = of_unit.processes.iter().map(|one| one.pid).collect();
    let expected = sleeper.and_then(|pid| u32::try_from(pid).ok());
    ensure!(
        expected.is_some_and(|pid| pids.contains(&pid)) && !pids.contains(&1),
        "{of_unit:?} without {expected:?}"
    );
    let kernel = all.processes.iter().find(|one| one.name == "kthreadd");
    ensure!(kernel.is_none(), "{kernel:?}");
    Ok(())
}

/// A certificate of another authority is refused.
fn stranger_pki(address: &str) -> Result<()> {
    let place = fixture::folder("stories/api/stranger")?;
    orlop_qemu::build::pki(&place)?;
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20"])
        .arg("--cert")
        .arg(place.join("client.crt"))
        .arg("--key")
        .arg(place.join("client.key"))
        .arg(format!("https://{address}/v1/units"))
        .output()?;
    ensure!(
        !output.status.success(),
        "another authority's client got {output:?}"
    );
    Ok(())
}
