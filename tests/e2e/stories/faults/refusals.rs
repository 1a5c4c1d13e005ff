//! Bundles and servers that are bad, all on one machine, which goes on as if nothing
//! had been, and takes a good version in the end.

use anyhow::{Result, ensure};
use orlop_control::types::{InstalledVersion, UpdatePhase};
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::{Config, Firmware};
use orlop_web::Manner;

use super::super::trials::wait_good;
use super::{bundles, healthy, servers};
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::stories::updates;

/// What runs.
const VERSION: &str = "1.5.0";
const ENTRY: &str = "orlop_1_1.5.0.efi";
/// What somebody has put on the boot partition.
const FOREIGN: &str = "backup.img";

/// The machine, in the boot in which all of it is tried.
pub(super) struct Host {
    pub(super) guest: Guest,
    boot_id: String,
}

impl Host {
    fn boot(config: &Config) -> Result<Host> {
        let guest = fixture::boot(config.clone())?;
        wait_good(&guest, 1)?;
        healthy(&guest, VERSION)?;
        let boot_id = guest.operator().status()?.boot_id;
        Ok(Host { guest, boot_id })
    }

    /// It runs on, and nothing leads to slot B.
    pub(super) fn is_unharmed(&self) -> Result<()> {
        healthy(&self.guest, VERSION)?;
        let status = self.guest.operator().status()?;
        ensure!(status.boot_id == self.boot_id, "it rebooted: {status:?}");
        let versions: Vec<InstalledVersion> = self.guest.operator().json(&["versions"])?;
        ensure!(
            versions.len() == 1 && versions[0].running && versions[0].file == ENTRY,
            "{versions:?}"
        );
        Ok(())
    }

    /// An update from `source` is refused, for a reason that has `expected` in it.
    pub(super) fn refuses(&self, source: &str, expected: &str) -> Result<()> {
        let asked = self
            .guest
            .operator()
            .try_run(&["update", "--no-reboot", source])?;
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        ensure!(
            !asked.status.success() && said.contains(expected),
            "no {expected:?}: {asked:?}"
        );
        let phase = updates::update_status(&self.guest)?.phase;
        ensure!(
            phase == UpdatePhase::Idle || phase == UpdatePhase::Failed,
            "{phase:?}"
        );
        Ok(())
    }
}

/// A full boot partition, bundles that are not for this host or not whole, and
/// servers that do not give what they should: each is told by its cause, what runs
/// goes on, and no entry leads to what was not installed.
pub(crate) fn nothing_harms() -> Result<()> {
    let good = updates::good()?;
    let mut config = fixture::disk_of(&updates::between()?.image, "fault-refusals")?;
    config.firmware = Firmware::Uefi;
    // Web servers are on the loopback of this machine.
    config.isolated = false;
    full_boot_partition(&config, &good.bundle.display().to_string())?;

    let host = Host::boot(&config)?;
    bundles::are_refused(&host, &good)?;
    let (server, url) = updates::serve(&good, "fault-servers")?;
    servers::are_given_up(&host, &good, &server, &url)?;
    let mut guest = host.guest;
    server.choose(|_, _| Manner::Well);
    guest.operator().run(&["update", &url])?;
    wait_good(&guest, 2)?;
    healthy(&guest, "2.0.0")?;
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [ENTRY, "orlop_2_2.0.0.efi"], "{names:?}");
    Ok(())
}

/// There is no room for a second kernel image: how much there is and how much it
/// takes is said, and nothing is written.
fn full_boot_partition(config: &Config, bundle: &str) -> Result<()> {
    const LEFT: u64 = 4 << 20;
    let free = esp_files::free(&config.disk)?;
    esp_files::fill(&config.disk, FOREIGN, free - LEFT)?;
    let mut host = Host::boot(config)?;
    host.refuses(bundle, "the boot partition has room for")?;
    let status = updates::update_status(&host.guest)?;
    let problem = status.problem.unwrap_or_default();
    ensure!(
        status.phase == UpdatePhase::Failed
            && problem.contains("the boot partition has room for")
            && problem.contains("needs"),
        "{problem}"
    );
    host.is_unharmed()?;
    host.guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [ENTRY], "{names:?}");
    esp_files::delete(&config.disk, FOREIGN)
}
