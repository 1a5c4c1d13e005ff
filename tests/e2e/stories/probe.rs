//! The guest that finds out whether KVM works: here it is emulated, as whatever
//! is true of it then, is true of it under KVM.

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_qemu::accel::{self, Accel};
use orlop_qemu::build;

use crate::fixture::{self, PATIENCE};

/// A guest that boots is told from one that does not, or that hangs.
pub(crate) fn guest_that_runs() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let kernel = build::boot_files(&image).join("vmlinuz");
    let runs = accel::runs(Accel::Tcg, &kernel, PATIENCE)?;
    ensure!(runs, "a kernel that boots");
    let runs = accel::runs(Accel::Tcg, &kernel, Duration::from_millis(100))?;
    ensure!(!runs, "a kernel that is not there in time");
    // It says nothing, however long one waits.
    let runs = accel::runs(Accel::Tcg, &image, Duration::from_secs(10))?;
    ensure!(!runs, "a disk image is no kernel");
    Ok(())
}
