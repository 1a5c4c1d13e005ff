//! New versions that come up and find that their units are not well.

use anyhow::{Result, ensure};
use orlop_control::types::VersionState;
use orlop_qemu::guest::Guest;

use super::super::trials::{ILL, wait_good};
use super::{gone_back, healthy, in_time, versions};
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::stories::updates;

/// Is healthy at every other check, so that it never is for as long as it has to be.
const FLAPS: &str = "[container]\nimage = \"localhost/busybox:1\"\nvolumes = [\"flaps:/data\"]\n\
    [health]\nexec = [\"busybox\", \"sh\", \"-c\", '''\n\
    n=$(busybox cat /data/n || echo 0); echo $((n + 1)) > /data/n; [ $((n % 2)) = 0 ]''']\n\
    interval = \"1s\"\nretries = 1\ngate = true\n";

/// Needs what only version 1 has.
const BESIDE: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    [health]\nexec = [\"busybox\", \"true\"]\ninterval = \"1s\"\ngate = true\n";

/// A unit that stays ill, one that flaps, and one whose image the new version does
/// not have: each time the host goes back by itself and says which unit it was, as
/// does the command that asked for the update.
pub(crate) fn that_stay_shut() -> Result<()> {
    let ill = versions::of_units("2.0.0", "3s", &[("web", ILL)])?.bundle;
    let flaps = versions::of_units("2.1.0", "15s", &[("web", FLAPS)])?.bundle;
    let lacks = versions::without_images("2.2.0")?;
    let config = updates::disk("fault-gates")?;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    fixture::apply(&guest, &[("beside", BESIDE)])?;
    healthy(&guest, "1.0.0")?;
    let cases = [
        (2, "2.0.0", ill, "web: ", "no database"),
        (3, "2.1.0", flaps, "web: ", "its health check fails"),
        (4, "2.2.0", lacks, "beside: ", "is not on this host"),
    ];
    for (serial, version, bundle, unit, cause) in cases {
        let bundle = bundle.display().to_string();
        let asked = guest.operator().try_run(&["update", &bundle])?;
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        ensure!(
            asked.status.code() == Some(1) && said.contains(unit),
            "{version}: {asked:?}"
        );
        wait_good(&guest, 1)?;
        healthy(&guest, "1.0.0")?;
        in_time(&format!("fault-gates, {version}"), &guest, 1)?;
        let failed = gone_back(&guest, serial, version, VersionState::Failed)?;
        let told = guest.operator().run(&["status"])?;
        ensure!(
            failed.reason.contains(unit) && told.contains(cause),
            "no {cause:?}: {failed:?}: {told}"
        );
        was_tried_once(&guest, version, serial)?;
        if version == "2.1.0" {
            flapped(&guest)?;
            // It wrote nothing, and what 2.0.0 wrote before it is not its own.
            ensure!(!told.contains("no database"), "{told}");
        }
    }
    let units = guest.operator().units()?;
    ensure!(
        units.iter().any(|unit| fixture::is_healthy(unit, "beside")),
        "{units:?}"
    );
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(
        names == ["orlop_1_1.0.0.efi", "orlop_4_2.2.0+0-1.efi"],
        "{names:?}"
    );
    Ok(())
}

/// The unit was healthy, ill, and healthy again in the boot before this one.
fn flapped(guest: &Guest) -> Result<()> {
    let console = guest.console_text();
    let boots: Vec<&str> = console.split("orlop: root: slot ").collect();
    let trial = boots.iter().rev().nth(1).copied().unwrap_or_default();
    let said = |words: &str| trial.matches(words).count();
    ensure!(
        said("orlop: web: running (healthy)") > 1 && said("orlop: web: running (unhealthy)") > 0,
        "it did not flap:\n{console}"
    );
    Ok(())
}

/// There is no second try of what an orderly trial has found bad.
fn was_tried_once(guest: &Guest, version: &str, serial: u64) -> Result<()> {
    let console = guest.console_text();
    let begun = format!("version {version} (installation {serial}) is on trial");
    let count = console.lines().filter(|line| line.contains(&begun)).count();
    ensure!(count == 1, "{count} trials of {version}:\n{console}");
    Ok(())
}
