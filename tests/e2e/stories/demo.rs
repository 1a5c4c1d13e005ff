//! The demo as a new user gets it.

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::http;
use orlop_qemu::machine::Firmware;

use crate::fixture::{self, PATIENCE};

/// UEFI, systemd-boot, UKI, verity root, manager, container, page, power-off.
pub(crate) fn boots_through_firmware() -> Result<()> {
    let image = fixture::demo_image()?;
    let mut config = fixture::disk_of(&image, "demo")?;
    config.firmware = Firmware::Uefi;
    let web = fixture::forward(&mut config, 80)?;
    let mut guest = fixture::boot(config)?;
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;

    let (status, page) = http::get(web, "/")?;
    ensure!(
        status == 200 && page.contains("It runs."),
        "{status}: {page}"
    );

    let host = guest.operator().status()?;
    ensure!(host.slot == "a" && host.state == "ok", "{host:?}");
    ensure!(
        host.state_size > 1 << 30,
        "the state partition did not grow: {}",
        host.state_size
    );
    ensure!(
        !host.watchdog.is_empty(),
        "status must tell the watchdog: {host:?}"
    );
    let web = guest.operator().unit("web")?;
    ensure!(
        web.state == UnitState::Running && web.pid.is_some(),
        "{web:?}"
    );

    let versions = guest.operator().run(&["version"])?;
    for wanted in ["1.0.0", env!("CARGO_PKG_VERSION"), "(amd64)"] {
        ensure!(versions.contains(wanted), "no {wanted:?} in:\n{versions}");
    }
    ensure!(host.serial > 0, "which installation it is: {host:?}");

    // Boot tells how far it is, then the status screen takes over.
    let told = guest.console_text();
    let mut lines = told.lines().map(str::trim_end);
    for phase in ["file systems", "watchdog", "state", "identity"] {
        let wanted = format!("orlop: {phase}");
        ensure!(
            lines.any(|line| line == wanted),
            "no {wanted:?} in its place:\n{told}"
        );
    }
    let console = guest.machine().console();
    for wanted in [
        "demo 1.0.0   slot a   kernel ",
        "address   10.0.2.15",
        "API       https://10.0.2.15:7470",
        "  web  running (healthy)",
    ] {
        console.expect(wanted, PATIENCE)?;
    }
    guest.power_off(PATIENCE)
}
