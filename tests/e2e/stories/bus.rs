//! The manager's D-Bus interface, from containers, by libdbus.

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::build;

use crate::fixture::{self, PATIENCE};

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// A unit that speaks with the manager about `sleeper`, as what `bus` says.
fn client(bus: &str) -> String {
    format!(
        "[unit]\nrequires = [\"sleeper\"]\n[container]\nimage = \"localhost/bus-client:1\"\n{bus}\n\
         command = [\"bus-client\", \"sleeper\"]\n[restart]\npolicy = \"never\"\n"
    )
}

/// A reader sees properties and signals and is refused the rest; an operator
/// is not; and who did not ask for the socket has none.
pub(crate) fn libdbus_clients() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "bus")?)?;
    let archive = fixture::once("bus-client.tar", |path| {
        let program = build::binary("bus-client");
        let files = [(program.as_path(), "/bin/bus-client:755")];
        build::container(path, "localhost/bus-client:1", &files, &["bus-client"])
    })?;
    guest
        .operator()
        .run(&["load", &archive.display().to_string()])?;
    let (reader, stranger) = (client("bus = \"reader\""), client(""));
    fixture::apply(
        &guest,
        &[
            ("sleeper", SLEEPER),
            ("reader", &reader),
            ("stranger", &stranger),
        ],
    )?;
    fixture::wait_output(
        &guest,
        &["logs", "reader"],
        "role: reader\nName: sleeper\nState: running\nImage: localhost/busybox:1\n\
         may not stop it: org.orlop.Error.AccessDenied: this needs the role operator, \
         and this socket gives reader",
    )?;
    let failed = fixture::wait_state(&guest, "stranger", UnitState::Failed)?;
    ensure!(
        failed.last_exit.as_ref().and_then(|exit| exit.code) == Some(1),
        "{failed:?}"
    );
    let said = guest.operator().try_run(&["logs", "stranger"])?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(
        said.contains("No such file or directory") && !said.contains("role"),
        "without `bus` in its file: {said:?}"
    );

    fixture::apply(&guest, &[("operator", &client("bus = \"operator\""))])?;
    fixture::wait_output(&guest, &["logs", "operator"], "stopped it")?;
    fixture::wait_state(&guest, "sleeper", UnitState::Stopped)?;
    for unit in ["reader", "operator"] {
        for signal in [
            "UnitStateChanged sleeper stopped",
            "PropertiesChanged org.orlop.Unit1",
        ] {
            fixture::wait_output(&guest, &["logs", unit], &format!("signal: {signal}"))?;
        }
    }
    guest.power_off(PATIENCE)
}
