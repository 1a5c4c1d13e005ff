//! What the network lets through, and what it does not.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::{API_PORT, Guest};
use orlop_qemu::machine::{self, Segment};

use crate::fixture::{self, PATIENCE};
use crate::neighbour::{Answer, Neighbour};

/// Long enough for several knocks; silence is the expected outcome of some.
const KNOCK: Duration = Duration::from_secs(4);

/// The guest's address on QEMU's user network, and its gateway there.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

const SERVER: &str = "[container]\nimage = \"localhost/busybox:1\"\nports = [\"8080:8000\"]\n\
    command = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/bin\"]\n\
    [health]\ntcp = 8000\ninterval = \"1s\"\n";

const CLIENT: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// A neighbour reaches published ports and the API, and nothing else.
pub(crate) fn neighbour() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut config = fixture::disk_of(&image, "neighbour")?;
    let frames = machine::free_port(None)?;
    config.segment = Some(Segment {
        frames_port: frames,
    });
    let mut guest = fixture::boot(config)?;
    fixture::apply(&guest, &[("server", SERVER), ("client", CLIENT)])?;
    guest.wait_units("a healthy server", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "server"))
    })?;
    let inside = guest
        .operator()
        .unit("server")?
        .address
        .context("no address")?;
    let bridge = Ipv4Addr::new(inside.octets()[0], inside.octets()[1], 0, 1);

    let mut neighbour = Neighbour::plug_in(frames)?;
    let host = neighbour.mac_of(GUEST)?;
    let expected = [
        (GUEST, 8080, Answer::Accepted, "a published port"),
        (GUEST, API_PORT, Answer::Accepted, "the API"),
        (GUEST, 53, Answer::Silence, "the name server on the uplink"),
        (GUEST, 8000, Answer::Silence, "a port that is not published"),
        (
            inside,
            8000,
            Answer::Silence,
            "a container, by a route into its subnet",
        ),
        (bridge, 53, Answer::Silence, "the bridge's address"),
        (
            bridge,
            API_PORT,
            Answer::Silence,
            "the API at the bridge's address",
        ),
    ];
    for (address, port, wanted, what) in expected {
        let answer = neighbour.knock(host, address, port, KNOCK)?;
        ensure!(
            answer == wanted,
            "{what} ({address}:{port}): {answer:?}, expected {wanted:?}"
        );
    }

    between_containers(&guest)?;
    guest.power_off(PATIENCE)
}

/// Units by name, and published ports from containers.
fn between_containers(guest: &Guest) -> Result<()> {
    fixture::wait_state(guest, "client", UnitState::Running)?;
    let from = |unit: &str, script: &str| {
        guest
            .operator()
            .try_run(&["exec", unit, "busybox", "sh", "-c", script])
    };
    let by_name = from(
        "client",
        "busybox wget -q -O - http://server:8000/busybox | busybox wc -c",
    )?;
    ensure!(by_name.status.success(), "by unit name: {by_name:?}");
    let hairpin = format!("busybox wget -q -O /dev/null http://{GUEST}:8080/busybox");
    let own = from("server", &hairpin)?;
    ensure!(
        own.status.success(),
        "its own published port from the server: {own:?}"
    );
    let other = from("client", &hairpin)?;
    ensure!(
        other.status.success(),
        "the published port from another container: {other:?}"
    );
    let unknown = from("client", "busybox nslookup nobody-here.orlop")?;
    ensure!(
        !unknown.status.success(),
        "an unknown unit has an address: {unknown:?}"
    );
    Ok(())
}
