//! A host that follows a channel: it updates itself to what is published there, and
//! never again to what failed on it.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::ChannelStatus;
use orlop_qemu::build;
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::Firmware;
use orlop_web::Server;

use super::trials::{ILL, wait_good};
use super::updates::{COUNTS, PASSES, update_status};
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::releases::{Recipe, release};

/// Looks into the channel during which a version that failed there is left alone.
const LOOKS: usize = 5;

/// Nobody asks for anything: a version that stays ill is taken and given up once, though
/// it stays in the channel, and the next one is taken and kept.
pub(crate) fn followed() -> Result<()> {
    let folder = fixture::folder("stories/channel.web")?;
    let server = Server::start(&folder)?;
    let follows = format!(
        "{PASSES}\nurl = \"http://10.0.2.2:{}\"\ncheck = \"1s\"\napply = \"auto\"",
        server.port()
    );
    let version = |version, update, unit| {
        release(Recipe {
            file: &format!("channel-{version}"),
            version,
            update,
            extra: "",
            units: &[("web", unit)],
        })
    };
    let old = version("1.0.0", &follows, COUNTS)?;
    let ill = version("2.0.0", "settle = \"3s\"\ndeadline = \"20s\"", ILL)?;
    let good = version("2.1.0", &follows, COUNTS)?;
    let mut config = fixture::disk_of(&old.image, "channel")?;
    config.firmware = Firmware::Uefi;
    // Its web server is on the loopback of this machine.
    config.isolated = false;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    // There is nothing in it yet, which is said, and looked for again.
    finds(&guest, "404")?;

    build::publish(&ill.bundle, &folder)?;
    finds(&guest, "version 2.0.0 failed on this host")?;
    let failed = wait_good(&guest, 1)?.failed_update.context("no report")?;
    ensure!(
        failed.version == "2.0.0" && failed.reason.contains("web: "),
        "{failed:?}"
    );
    is_left_alone(&guest)?;

    build::publish(&good.bundle, &folder)?;
    let status = wait_good(&guest, 3)?;
    ensure!(status.version == "2.1.0", "{status:?}");
    finds(&guest, "version 2.1.0 is the newest, and 2.1.0 runs")?;
    let console = guest.console_text();
    for begun in ["2.0.0 (installation 2)", "2.1.0 (installation 3)"] {
        let begun = format!("version {begun} is on trial");
        let trials = console.lines().filter(|line| line.contains(&begun)).count();
        ensure!(trials == 1, "{trials} times {begun:?}:\n{console}");
    }
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(
        names == ["orlop_1_1.0.0.efi", "orlop_3_2.1.0.efi"],
        "{names:?}"
    );
    Ok(())
}

fn channel(guest: &Guest) -> Result<ChannelStatus> {
    update_status(guest)?.channel.context("no channel")
}

/// Waits until the host tells that it found `wanted`; in between it may reboot.
fn finds(guest: &Guest, wanted: &str) -> Result<()> {
    fixture::wait(&format!("{wanted:?} in the channel"), || {
        Ok(channel(guest).is_ok_and(|channel| channel.found.contains(wanted)))
    })
}

/// The host looks again and again, and takes nothing.
fn is_left_alone(guest: &Guest) -> Result<()> {
    let mut looked = channel(guest)?.checked;
    for _ in 0..LOOKS {
        fixture::wait("another look into the channel", || {
            Ok(channel(guest)?.checked != looked)
        })?;
        let status = update_status(guest)?;
        ensure!(!status.phase.is_under_way(), "{status:?}");
        looked = status.channel.context("no channel")?.checked;
    }
    ensure!(guest.operator().status()?.serial == 1);
    Ok(())
}
