//! A state partition that a check can mend.

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;

use crate::fixture::{self, PATIENCE};
use crate::state_files;

const KEPT: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// Its superblock says that the kernel found errors, and there are some: it is
/// checked before it is mounted, nothing on it is lost, and the host says so. The
/// next boot finds it well.
pub(crate) fn repaired_state() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let config = fixture::disk_of(&image, "repaired-state")?;
    let mut guest = fixture::boot(config.clone())?;
    fixture::apply(&guest, &[("kept", KEPT)])?;
    fixture::wait_state(&guest, "kept", UnitState::Running)?;
    guest.power_off(PATIENCE)?;

    state_files::debugfs(
        &config.disk,
        "set_inode_field /var/lib/orlop links_count 77\nset_super_value state 2\n",
    )?;
    let mut guest = fixture::boot(config.clone())?;
    let host = guest.operator().status()?;
    ensure!(host.state == "repaired", "{host:?}");
    ensure!(!host.state_detail.is_empty(), "{host:?}");
    let console = guest.console_text();
    ensure!(
        console.contains("checking the state partition"),
        "the console must say it:\n{console}"
    );
    fixture::wait_state(&guest, "kept", UnitState::Running)?;
    guest.power_off(PATIENCE)?;

    let mut guest = fixture::boot(config)?;
    let host = guest.operator().status()?;
    ensure!(host.state == "ok", "{host:?}");
    guest.power_off(PATIENCE)
}
