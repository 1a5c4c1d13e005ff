//! Host images that are booted on trial: kept, or given up by the host itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::{HostStatus, InstalledVersion, VersionState};
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::{Config, Firmware};
use orlop_qemu::paths;

use super::crash_only::tormented_binaries;
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};

/// A unit that decides, and is healthy.
const WELL: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    [health]\nexec = [\"busybox\", \"true\"]\ninterval = \"1s\"\ngate = true\n";

/// The same that never is, and says so in its log.
pub(super) const ILL: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"echo no database; exec busybox sleep 1000000\"]\n\
    [health]\nexec = [\"busybox\", \"false\"]\ninterval = \"1s\"\ngate = true\n";

/// For a trial that passes, however long a busy machine takes for its units.
const PASSES: &str = "[update]\nsettle = \"3s\"\n";
/// For a trial that fails, which is decided by its deadline.
const FAILS: &str = "[update]\nsettle = \"3s\"\ndeadline = \"20s\"\n";
/// Not decided before somebody could kill the manager.
const LATER: &str = "[update]\nsettle = \"15s\"\n\
    [kernel]\ncommand-line = \"chaos=kill-manager\"\n";

/// The same, with another harm.
const PANICS: &str = "[update]\nsettle = \"15s\"\n[kernel]\ncommand-line = \"chaos=panic\"\n";

const OLD: &str = "orlop_1_1.0.0.efi";
const NEW: &str = "orlop_2_2.0.0.efi";
/// The new one after a start.
const TRIED: &str = "orlop_2_2.0.0+2-1.efi";
/// The new one after it was given up.
const GIVEN_UP: &str = "orlop_2_2.0.0+0-1.efi";

/// All are called the same: the boot loader orders by names before serials.
fn image(file: &str, version: &str, extra: &str, web: &str, binaries: &Path) -> Result<PathBuf> {
    let units = [("web", web)];
    fixture::host_image_of(file, ("shop", version), extra, &units, &[], binaries)
}

/// A disk that boots as real ones do, with version 1 and, on trial, `new`.
fn updated(story: &str, new: &Path) -> Result<Config> {
    let old = image("trial-old", "1.0.0", PASSES, WELL, &paths::binaries())?;
    let mut config = fixture::disk_of(&old, story)?;
    config.firmware = Firmware::Uefi;
    esp_files::install(new, &config.disk, "orlop_2_2.0.0+3.efi")?;
    Ok(config)
}

fn well() -> Result<PathBuf> {
    image("trial-well", "2.0.0", PASSES, WELL, &paths::binaries())
}

fn ill() -> Result<PathBuf> {
    image("trial-ill", "2.0.0", FAILS, ILL, &paths::binaries())
}

fn versions(guest: &Guest) -> Result<Vec<InstalledVersion>> {
    guest.operator().json(&["versions"])
}

/// Waits until the install that runs is `serial`, and found good.
pub(crate) fn wait_good(guest: &Guest, serial: u64) -> Result<HostStatus> {
    fixture::wait(&format!("installation {serial} to be good"), || {
        // It may be about to reboot.
        let Ok(versions) = versions(guest) else {
            return Ok(false);
        };
        let good = |v: &InstalledVersion| {
            (v.serial, v.running, v.state) == (serial, true, VersionState::Good)
        };
        Ok(versions.iter().any(good))
    })?;
    let status = guest.operator().status()?;
    ensure!(status.serial == serial, "{status:?}");
    Ok(status)
}

/// A new version whose unit is healthy is kept: its entry loses the counter, and
/// the next boot is of it and no trial, though power had undone the rename.
pub(crate) fn kept() -> Result<()> {
    let config = updated("trial-kept", &well()?)?;
    let mut guest = fixture::boot(config.clone())?;
    let status = wait_good(&guest, 2)?;
    ensure!(
        (status.version.as_str(), status.slot.as_str()) == ("2.0.0", "b"),
        "{status:?}"
    );
    ensure!(status.trial.is_none() && status.failed_update.is_none());
    let console = guest.machine().console();
    console.expect("version 2.0.0 (installation 2) is on trial", PATIENCE)?;
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, NEW], "{names:?}");

    esp_files::rename(&config.disk, NEW, TRIED)?;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 2)?;
    let told = guest.operator().run(&["versions"])?;
    let lines: Vec<&str> = told.lines().collect();
    ensure!(
        lines
            == [
                "INSTALLATION   VERSION   SLOT   STATE",
                "2              2.0.0     b      running, good",
                "1              1.0.0     a      good",
            ],
        "{told}"
    );
    let console = guest.console_text();
    ensure!(!console.contains("is on trial"), "tried again:\n{console}");
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, NEW], "{names:?}");
    Ok(())
}

/// A new version whose unit never gets healthy is given up by the host itself:
/// the old one comes up with its containers, and says which failed and why. It is
/// not tried again, though power had undone the rename.
pub(crate) fn given_up() -> Result<()> {
    let config = updated("trial-given-up", &ill()?)?;
    let mut guest = fixture::boot(config.clone())?;
    let status = wait_good(&guest, 1)?;
    let failed = status.failed_update.context("nothing failed")?;
    ensure!(
        (failed.version.as_str(), failed.serial) == ("2.0.0", 2) && failed.reason.contains("web: "),
        "{failed:?}"
    );
    let found_in = failed.boot_id.clone();
    ensure!(found_in != status.boot_id, "{failed:?}");
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;
    let told = guest.operator().run(&["status"])?;
    for wanted in [
        "version 2.0.0 (installation 2) failed its trial: web: ",
        "Last lines of web on 2.0.0:\n  no database\n",
    ] {
        ensure!(told.contains(wanted), "no {wanted:?}: {told}");
    }
    let screen = "! version 2.0.0 (installation 2) failed its trial: web: ";
    guest.machine().console().expect(screen, PATIENCE)?;
    let states: Vec<_> = versions(&guest)?
        .into_iter()
        .map(|v| (v.serial, v.running, v.state))
        .collect();
    ensure!(
        states
            == [
                (2, false, VersionState::Failed),
                (1, true, VersionState::Good)
            ],
        "{states:?}"
    );
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, GIVEN_UP], "{names:?}");

    // Power goes after the record, and the name is as it was.
    esp_files::rename(&config.disk, GIVEN_UP, TRIED)?;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    let console = guest.console_text();
    let back = console.contains("root: slot b") && console.contains("root: slot a");
    ensure!(
        back && !console.contains("is on trial"),
        "not back at once:\n{console}"
    );
    let failed = guest.operator().status()?.failed_update;
    ensure!(
        failed.as_ref().map(|failed| &failed.boot_id) == Some(&found_in),
        "the report is another: {failed:?}"
    );
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, "orlop_2_2.0.0+0-2.efi"], "{names:?}");
    Ok(())
}

/// With no other good version a trial that fails is reported; what runs goes on,
/// and nothing is renamed.
pub(crate) fn nowhere_to_go() -> Result<()> {
    let mut config = fixture::disk_of(&ill()?, "trial-nowhere-to-go")?;
    config.firmware = Firmware::Uefi;
    esp_files::rename(&config.disk, "orlop_1_2.0.0.efi", "orlop_1_2.0.0+3.efi")?;
    // A reboot would end the guest.
    config.stop_on_reset = true;
    let mut guest = fixture::boot(config.clone())?;
    fixture::wait("a report", || {
        Ok(guest.operator().status()?.failed_update.is_some())
    })?;
    let told = fixture::wait_output(&guest, &["status"], "runs on")?;
    ensure!(
        told.contains("no other good one to go back to: web: "),
        "{told}"
    );
    let running = versions(&guest)?;
    ensure!(
        running.len() == 1 && running[0].running && running[0].state == VersionState::Trial,
        "{running:?}"
    );
    guest.power_off(PATIENCE)?;
    ensure!(!guest.console_text().contains("Restarting system"));
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == ["orlop_1_2.0.0+2-1.efi"], "{names:?}");
    Ok(())
}

/// The manager is killed while the gate waits: the next one goes on, and decides
/// once.
pub(crate) fn manager_killed() -> Result<()> {
    let new = image("trial-killed", "2.0.0", LATER, WELL, &tormented_binaries()?)?;
    let config = updated("trial-manager-killed", &new)?;
    let mut guest = fixture::boot(config.clone())?;
    fixture::wait("the trial", || {
        Ok(guest.operator().status()?.trial.is_some())
    })?;
    // Whether this is answered is open: it has the manager killed.
    fixture::try_apply(&guest, &[("now", WELL.as_bytes())])?;
    let console = guest.machine().console();
    console.expect("chaos: kill-manager", PATIENCE)?;
    console.expect_times("(installation 2) is on trial", 2, PATIENCE)?;
    let status = wait_good(&guest, 2)?;
    ensure!(status.failed_update.is_none(), "{status:?}");
    let text = guest.console_text();
    let decided = text.matches("(installation 2) is good").count();
    ensure!(decided == 1, "decided {decided} times:\n{text}");
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, NEW], "{names:?}");
    Ok(())
}

/// A kernel that panics on trial: the old version comes up, and tells its last words, which the
/// firmware has kept.
pub(crate) fn panicked() -> Result<()> {
    let new = image(
        "trial-panics",
        "2.0.0",
        PANICS,
        WELL,
        &tormented_binaries()?,
    )?;
    let old = image("trial-old", "1.0.0", PASSES, WELL, &paths::binaries())?;
    let mut config = fixture::disk_of(&old, "trial-panicked")?;
    config.firmware = Firmware::Uefi;
    esp_files::install(&new, &config.disk, "orlop_2_2.0.0+1.efi")?;
    let mut guest = fixture::boot(config.clone())?;
    fixture::wait("the trial", || {
        Ok(guest.operator().status()?.trial.is_some())
    })?;
    // Not answered: the machine is gone.
    let applied = fixture::try_apply(&guest, &[("now", WELL.as_bytes())]);
    drop(applied);
    wait_good(&guest, 1)?;
    fixture::wait_output(
        &guest,
        &["status"],
        "its kernel panicked: sysrq triggered crash",
    )?;
    let told = guest.operator().run(&["status"])?;
    for wanted in [
        "version 2.0.0 (installation 2) failed its trial: it was started once",
        "Last lines of the kernel on 2.0.0:\n",
        "  Kernel panic - not syncing: sysrq triggered crash\n",
    ] {
        ensure!(told.contains(wanted), "no {wanted:?}: {told}");
    }
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(names == [OLD, "orlop_2_2.0.0+0-1.efi"], "{names:?}");
    Ok(())
}
