//! Boots from disks that are not as they should be.

use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::machine::Config;
use serde_json::json;

use crate::fixture::{self, PATIENCE};
use crate::state_files;

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// A state partition that cannot be repaired: the host comes up on a tmpfs with
/// its baked units, and says how to reset it; it does not loop.
pub(crate) fn ruined_state() -> Result<()> {
    let image = fixture::host_image("baked-sleeper", "", &[("sleeper", SLEEPER)])?;
    let config = fixture::disk_of(&image, "ruined-state")?;
    let features = state_files::features(&config.disk)?;
    ruin_state(&config)?;
    let mut guest = fixture::boot(config.clone())?;
    let host = guest.operator().status()?;
    ensure!(host.state == "tmpfs", "{host:?}");
    let console = guest.console_text();
    for wanted in [
        "the state partition cannot be used",
        "/dev/disk/by-partlabel/state resets the host",
    ] {
        ensure!(
            host.state_detail.contains(wanted),
            "no {wanted:?}: {host:?}"
        );
        ensure!(console.contains(wanted), "no {wanted:?}:\n{console}");
    }
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    guest.power_off(PATIENCE)?;

    let (_, advice) = host
        .state_detail
        .split_once("and mkfs.ext4 ")
        .context("no command")?;
    let (options, _) = advice.split_once(" /dev/").context("no options")?;
    state_files::mkfs(&config.disk, options)?;
    let anew = state_files::features(&config.disk)?;
    ensure!(anew == features, "{anew:?}, not {features:?}");
    let mut guest = fixture::boot(config)?;
    let host = guest.operator().status()?;
    ensure!(host.state == "ok", "it is not reset: {host:?}");
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    guest.power_off(PATIENCE)
}

/// Overwrites the whole state partition, superblocks and all.
fn ruin_state(config: &Config) -> Result<()> {
    let state = state_files::partition(&config.disk, "state")?;
    let disk = std::fs::File::options().write(true).open(&config.disk)?;
    let noise = vec![0x5a; 1 << 20];
    for at in state.step_by(noise.len()) {
        disk.write_all_at(&noise, at)?;
    }
    Ok(())
}

/// A changed root: verity notices, the boot says why it cannot go on and starts
/// over after a pause, and nothing of that root ever runs.
pub(crate) fn changed_root() -> Result<()> {
    let image = fixture::host_image("baked-sleeper", "", &[("sleeper", SLEEPER)])?;
    let mut config = fixture::disk_of(&image, "changed-root")?;
    config.stop_on_reset = true;
    let root = state_files::partition(&config.disk, "root-a")?;
    let disk = std::fs::File::options().write(true).open(&config.disk)?;
    // The superblock of the file system, which every boot reads.
    disk.write_all_at(&[0xff; 4], root.start + 1024 + 64)?;
    std::fs::create_dir_all(&config.folder)?;
    let mut machine = orlop_qemu::machine::Machine::start(config)?;
    machine.wait_for_end(PATIENCE)?;
    let text = machine.console().text();
    for wanted in [
        "data block 0 is corrupted",
        "orlop: cannot boot: mounting /dev/dm-0 as erofs: expected the root of slot a",
        "orlop: restarting in 10 s",
        "reboot: Restarting system",
    ] {
        ensure!(text.contains(wanted), "no {wanted:?}:\n{text}");
    }
    let found = kernel_time(&text, "data block 0 is corrupted")?;
    let reset = kernel_time(&text, "reboot: Restarting system")?;
    ensure!(reset - found >= 10.0, "no pause:\n{text}");
    for unwanted in ["orlop-manager", "sleeper"] {
        ensure!(!text.contains(unwanted), "{unwanted:?} came up:\n{text}");
    }
    Ok(())
}

/// A disk that all but stands still: the phase that waits for it is named, and
/// the machine is reset without asking the disk.
pub(crate) fn hung_disk() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut config = fixture::disk_of(&image, "hung-disk")?;
    config.stop_on_reset = true;
    config.append = "orlop.phase-limit=45".into();
    // It stands still until its disk does, too.
    config.extra.push("-S".into());
    std::fs::create_dir_all(&config.folder)?;
    let mut machine = orlop_qemu::machine::Machine::start(config)?;
    let mut qmp = machine.qmp()?;
    // All zeros but this mean no limit (QEMU's block-core.json).
    qmp.execute(
        "block_set_io_throttle",
        json!({
            "device": "disk", "iops": 1, "iops_rd": 0, "iops_wr": 0,
            "bps": 0, "bps_rd": 0, "bps_wr": 0,
        }),
    )?;
    qmp.execute("cont", json!({}))?;
    drop(qmp);
    machine.wait_for_end(PATIENCE)?;
    let text = machine.console().text();
    // Which phase it is depends on what QEMU makes of a request or two.
    let named = text.lines().any(|line| {
        line.starts_with("orlop: cannot boot: \"") && line.contains("\" hangs, after 45 s: ")
    });
    ensure!(named, "no phase is named:\n{text}");
    ensure!(
        text.contains("sysrq: Resetting"),
        "it asked the disk:\n{text}"
    );
    Ok(())
}

/// The kernel's time, in seconds, of its first line that contains `words`.
fn kernel_time(console: &str, words: &str) -> Result<f64> {
    let line = console.lines().find(|line| line.contains(words));
    let stamp = line.and_then(|line| line.strip_prefix('[')?.split_once(']'));
    let (seconds, _) = stamp.with_context(|| format!("no time of {words:?}:\n{console}"))?;
    Ok(seconds.trim().parse()?)
}
