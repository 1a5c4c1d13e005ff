//! Power that goes while a version is written, while that is gone on with, and while
//! it is blessed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UpdatePhase;
use orlop_qemu::machine::Machine;
use orlop_slot::BootEntry;
use serde_json::json;

use super::super::trials::wait_good;
use super::{healthy, in_time};
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::stories::updates;

const OLD: &str = "orlop_1_1.0.0.efi";
const TEMPORARY: &str = "orlop.new";

/// Three times in a row: while the slot is read back, while the next boot, which goes
/// on by itself, writes the boot partition, and while the new version gets its name.
/// It arrives all the same, unattended, and until then the old one comes up.
pub(crate) fn gone_three_times() -> Result<()> {
    let config = updates::disk("fault-power")?;
    let disk = config.disk.as_path();
    let (_server, url) = updates::serve(&updates::good()?, "fault-power")?;

    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    let mut asking = guest.operator().command();
    asking.args(["update", &url]).stderr(Stdio::null());
    let mut asking = asking.spawn().context("cannot run the orlop command")?;
    let seen = fixture::wait("the slot to be read back", || {
        Ok(updates::update_status(&guest)?.phase == UpdatePhase::Verifying)
    });
    guest.machine().cut_power()?;
    asking.kill()?;
    asking.wait()?;
    seen?;
    let names = esp_files::names(disk, ENTRIES)?;
    ensure!(names == [OLD], "{names:?}");

    let mut machine = Machine::start(config.clone())?;
    write_slowly(&machine)?;
    wait_names("a kernel image on its way", disk, |names| {
        names.iter().any(|name| name != OLD)
    })?;
    machine.cut_power()?;
    let names = esp_files::names(disk, ENTRIES)?;
    eprintln!("power went with {names:?} on the boot partition");
    let bootable: Vec<&String> = names.iter().filter(|name| *name != TEMPORARY).collect();
    ensure!(
        bootable == [OLD] || bootable == [OLD, "orlop_2_2.0.0+3.efi"],
        "{names:?}"
    );

    let mut machine = Machine::start(config.clone())?;
    wait_names("the new version to get its name", disk, |names| {
        names.iter().any(|name| is_blessed(name))
    })?;
    machine.cut_power()?;
    let console = machine.console().text();
    ensure!(
        console.contains(") is on trial"),
        "it was kept untried:\n{console}"
    );

    let mut guest = fixture::boot(config.clone())?;
    let names = esp_files::names(disk, ENTRIES)?;
    let new = names.iter().find(|name| is_blessed(name));
    let new: BootEntry = new.context("its name is lost")?.parse()?;
    let status = wait_good(&guest, new.serial.into())?;
    ensure!(status.failed_update.is_none(), "{status:?}");
    healthy(&guest, "2.0.0")?;
    in_time("fault-power", &guest, 0)?;
    guest.power_off(PATIENCE)?;
    // A rename that power broke off leaves both names, of which none is removed.
    let names = esp_files::names(disk, ENTRIES)?;
    let begins = format!("orlop_{}_2.0.0", new.serial);
    ensure!(
        names.contains(&new.to_string())
            && names
                .iter()
                .all(|name| name == OLD || name.starts_with(&begins)),
        "{names:?}"
    );
    Ok(())
}

/// Whether it is the new version's, without a counter. Its number depends on how far
/// the install before it came.
fn is_blessed(name: &str) -> bool {
    let entry: Result<BootEntry, _> = name.parse();
    entry.is_ok_and(|entry| entry.version == "2.0.0" && entry.tries.is_none())
}

/// Has the disk take its time, so that there is a while in which power can go.
fn write_slowly(machine: &Machine) -> Result<()> {
    let mut qmp = machine.qmp()?;
    // All zeros but this mean no limit (QEMU's block-core.json).
    qmp.execute(
        "block_set_io_throttle",
        json!({
            "device": "disk", "iops": 0, "iops_rd": 0, "iops_wr": 0,
            "bps": 0, "bps_rd": 0, "bps_wr": 4 << 20,
        }),
    )?;
    Ok(())
}

/// Waits for the names in the boot partition of a machine that runs. They may be
/// half written while they are read.
fn wait_names(what: &str, disk: &Path, are_so: impl Fn(&[String]) -> bool) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !esp_files::names(disk, ENTRIES).is_ok_and(|names| are_so(&names)) {
        ensure!(
            std::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
