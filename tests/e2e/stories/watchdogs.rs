//! Machines that hang: in PID 1, in the manager, in the kernel itself.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::gdb::Gdb;
use orlop_qemu::guest::Guest;

use super::crash_only::tormented_binaries;
use crate::fixture::{self, PATIENCE};

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// What QEMU needs to have a watchdog.
const I6300ESB: [&str; 4] = ["-device", "i6300esb", "-action", "watchdog=reset"];
const HARDWARE: &str = "hardware:i6300ESB timer";
const SOFTWARE: &str = "softdog";

/// A host with the tormentor and Debian's generic kernel, which has a driver
/// for the watchdog that QEMU has. In a machine without one it is softdog's.
fn watched_image() -> Result<PathBuf> {
    fixture::host_image_with(
        "watched",
        "[kernel]\npackage = \"linux-image-amd64\"\n",
        &[("sleeper", SLEEPER)],
        &[],
        &tormented_binaries()?,
    )
}

/// A manager that hangs is noticed and replaced; the containers stay.
pub(crate) fn hung_manager() -> Result<()> {
    let mut config = fixture::disk_of(&watched_image()?, "hung-manager")?;
    config.append = "chaos=hang-manager".into();
    let mut guest = fixture::boot(config)?;
    let before = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    harm_now(&guest)?;
    // PID 1 finds it so after a while; until then a manager that was not harmed
    // yet may still answer.
    let console = guest.machine().console();
    console.expect("the manager does not answer: killing it", PATIENCE)?;
    let units = guest.wait_units("a new manager", PATIENCE, |_| true)?;
    let after = units
        .into_iter()
        .find(|unit| unit.name == "sleeper")
        .context("no sleeper")?;
    ensure!(
        after.pid == before.pid,
        "the container did not stay: {after:?}"
    );
    guest.power_off(PATIENCE)
}

/// PID 1 stands still: the kernel's own timer resets the machine, and `status`
/// says that there is nothing better.
pub(crate) fn hung_init_softdog() -> Result<()> {
    resets("hung-init", "freeze-init", &[], SOFTWARE)
}

/// PID 1 stands still: the machine's watchdog resets it.
pub(crate) fn hung_init_hardware() -> Result<()> {
    resets("hung-init-hardware", "freeze-init", &I6300ESB, HARDWARE)
}

/// The kernel panics: the machine resets by itself.
pub(crate) fn panicked_kernel() -> Result<()> {
    resets("panicked-kernel", "panic", &[], SOFTWARE)
}

fn resets(story: &str, order: &str, device: &[&str], watchdog: &str) -> Result<()> {
    let mut config = fixture::disk_of(&watched_image()?, story)?;
    config.append = format!("chaos={order}");
    config.extra = device.iter().map(ToString::to_string).collect();
    config.stop_on_reset = true;
    let mut guest = fixture::boot(config)?;
    expect_watchdog(&guest, watchdog)?;
    harm_now(&guest)?;
    guest
        .machine()
        .console()
        .expect(&format!("chaos: {order}"), PATIENCE)?;
    guest.machine().wait_for_end(PATIENCE)
}

/// The kernel hangs without a word: every processor turns in one instruction
/// with interrupts off, as after a deadlock or in faulty firmware. No timer of
/// the kernel's runs, so neither softdog nor its detectors of lockups can help;
/// only the machine's own watchdog resets it, and it comes up healthy again.
pub(crate) fn hung_kernel() -> Result<()> {
    let mut config = fixture::disk_of(&watched_image()?, "hung-kernel")?;
    let socket = config.folder.join("gdb.sock");
    config.extra = I6300ESB.map(str::to_owned).into();
    config.extra.extend(Gdb::arguments(&socket));
    let mut guest = fixture::boot(config)?;
    expect_watchdog(&guest, HARDWARE)?;
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    let first = guest.operator().status()?;
    ensure!(first.state == "ok", "{first:?}");

    Gdb::connect(&socket)?.hang_processors()?;
    wait_for_boot_after(&guest, &first.boot_id)?;
    fixture::wait_state(&guest, "sleeper", UnitState::Running)?;
    ensure!(
        !guest.console_text().contains("Kernel panic"),
        "the kernel noticed by itself; its console's end:\n{}",
        guest.console_tail()
    );
    guest.power_off(PATIENCE)
}

/// Waits until the host answers in another boot than `first`.
fn wait_for_boot_after(guest: &Guest, first: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = guest.operator().status();
        match status {
            Ok(status) if status.boot_id != first => return Ok(()),
            other if Instant::now() > deadline => bail!(
                "the machine did not boot again; last {other:?}\n{}",
                guest.console_tail()
            ),
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Which watchdog `status` and `info` say is fed.
fn expect_watchdog(guest: &Guest, wanted: &str) -> Result<()> {
    for command in ["status", "info"] {
        let text = guest.operator().run(&[command])?;
        let line = text.lines().find(|line| line.starts_with("Watchdog"));
        let said = line.with_context(|| format!("no watchdog in {text}"))?;
        ensure!(said.ends_with(wanted), "expected {wanted}: {text}");
    }
    Ok(())
}

/// Tells the tormentor to go ahead; whether the host can still answer is open.
fn harm_now(guest: &Guest) -> Result<()> {
    fixture::try_apply(guest, &[("now", SLEEPER.as_bytes())])?;
    Ok(())
}
