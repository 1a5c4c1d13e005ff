//! Boots that go wrong, and hosts that hang.

use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::Config;

use super::crash_only::tormented_image;
use crate::fixture::{self, PATIENCE};

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// A state partition that cannot be repaired: the host comes up on a tmpfs with
/// its baked units, and says how to reset it; it does not loop.
pub(crate) fn ruined_state() -> Result<()> {
    let image = fixture::host_image("baked-sleeper", "", &[("sleeper", SLEEPER)])?;
    let config = fixture::disk_of(&image, "ruined-state")?;
    ruin_state(&config)?;
    let mut guest = fixture::boot(config)?;
    let host = guest.operator().status()?;
    ensure!(host.state == "tmpfs", "{host:?}");
    ensure!(
        host.state_detail.contains("reset"),
        "no word on how to reset: {:?}",
        host.state_detail
    );
    ensure!(
        guest
            .console_text()
            .contains("the state partition cannot be used"),
        "the console must say it"
    );
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    guest.power_off(PATIENCE)
}

/// Overwrites the state partition's superblocks and group descriptors.
fn ruin_state(config: &Config) -> Result<()> {
    let output = std::process::Command::new("sfdisk")
        .arg("--json")
        .arg(&config.disk)
        .output()?;
    let table: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let partitions = table["partitiontable"]["partitions"]
        .as_array()
        .context("no partitions")?;
    let state = partitions
        .iter()
        .find(|partition| partition["name"] == "state")
        .context("no state partition")?;
    let start = state["start"].as_u64().context("no start")? * 512;
    let size = state["size"].as_u64().context("no size")? * 512;
    let disk = std::fs::File::options().write(true).open(&config.disk)?;
    let noise = vec![0x5a; 1 << 20];
    for block in 0..size >> 20 {
        disk.write_all_at(&noise, start + (block << 20))?;
    }
    Ok(())
}

/// One changed byte of the root: verity notices, the host never serves it.
pub(crate) fn changed_root() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut config = fixture::disk_of(&image, "changed-root")?;
    config.stop_on_reset = true;
    let output = std::process::Command::new("sfdisk")
        .arg("--json")
        .arg(&config.disk)
        .output()?;
    let table: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let partitions = table["partitiontable"]["partitions"]
        .as_array()
        .context("no partitions")?;
    let root = partitions
        .iter()
        .find(|partition| partition["name"] == "root-a")
        .context("no root-a")?;
    let start = root["start"].as_u64().context("no start")? * 512;
    let disk = std::fs::File::options().write(true).open(&config.disk)?;
    // The superblock of the file system, which every boot reads.
    disk.write_all_at(&[0xff; 4], start + 1024 + 64)?;
    std::fs::create_dir_all(&config.folder)?;
    let mut machine = orlop_qemu::machine::Machine::start(config)?;
    machine.wait_for_end(PATIENCE)?;
    let text = machine.console().text();
    ensure!(
        text.contains("orlop"),
        "the boot must say why it stops:\n{text}"
    );
    ensure!(
        !text.contains("sleeper"),
        "a changed root was used:\n{text}"
    );
    Ok(())
}

/// A manager that hangs is noticed and replaced; the containers stay.
pub(crate) fn hung_manager() -> Result<()> {
    let mut config = fixture::disk_of(&tormented_image()?, "hung-manager")?;
    config.append = "chaos=hang-manager".into();
    let mut guest = fixture::boot(config)?;
    fixture::apply_patiently(&guest, &[("sleeper", SLEEPER)])?;
    let before = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    harm_now(&guest)?;
    guest
        .machine()
        .console()
        .expect("chaos: hang-manager", PATIENCE)?;
    let host = guest.operator().status();
    let unit = guest.wait_units("an answering manager", PATIENCE, |_| true)?;
    let after = unit
        .into_iter()
        .find(|unit| unit.name == "sleeper")
        .context("no sleeper")?;
    ensure!(
        after.pid == before.pid,
        "the container did not stay: {after:?} (then {host:?})"
    );
    guest.power_off(PATIENCE)
}

/// PID 1 stands still: the watchdog resets the machine.
pub(crate) fn hung_init() -> Result<()> {
    resets("hung-init", "freeze-init")
}

/// The kernel panics: the machine resets by itself.
pub(crate) fn panicked_kernel() -> Result<()> {
    resets("panicked-kernel", "panic")
}

fn resets(story: &str, order: &str) -> Result<()> {
    let mut config = fixture::disk_of(&tormented_image()?, story)?;
    config.append = format!("chaos={order}");
    config.stop_on_reset = true;
    let mut guest = fixture::boot(config)?;
    harm_now(&guest)?;
    guest
        .machine()
        .console()
        .expect(&format!("chaos: {order}"), PATIENCE)?;
    guest.machine().wait_for_end(PATIENCE)
}

/// Tells the tormentor to go ahead; whether the host can still answer is open.
fn harm_now(guest: &Guest) -> Result<()> {
    fixture::try_apply(guest, &[("now", SLEEPER.as_bytes())])?;
    Ok(())
}
