//! An update of a machine whose state partition is full.

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::machine::Firmware;

use super::super::full_state::{HOG, expect_full};
use super::super::trials::wait_good;
use super::healthy;
use crate::fixture::{self, PATIENCE};
use crate::releases::{Recipe, release};
use crate::stories::updates::{self, COUNTS, PASSES};

/// What the host keeps for itself is enough for the records of an update and its
/// trial: the new version comes up, is kept, and says what is full.
pub(crate) fn updated() -> Result<()> {
    let old = release(Recipe {
        file: "fault-small-state",
        version: "1.0.0",
        update: PASSES,
        extra: "[disk]\nstate = \"192M\"\n",
        units: &[("web", COUNTS)],
    })?;
    let new = updates::good()?.bundle.display().to_string();
    let mut config = fixture::disk_as_built(&old.image, "fault-full-state")?;
    config.firmware = Firmware::Uefi;
    let mut guest = fixture::boot(config)?;
    wait_good(&guest, 1)?;
    healthy(&guest, "1.0.0")?;
    fixture::apply(&guest, &[("hog", HOG)])?;
    expect_full(&guest)?;
    guest.operator().run(&["update", &new])?;
    wait_good(&guest, 2)?;
    healthy(&guest, "2.0.0")?;
    fixture::wait_state(&guest, "hog", UnitState::Running)?;
    expect_full(&guest)?;
    let status = guest.operator().status()?;
    ensure!(status.failed_update.is_none(), "{status:?}");
    guest.power_off(PATIENCE)
}
