//! The API from outside, by clients that are not ours or not welcome.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;

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
