//! Ways to switch a host off.

use anyhow::{Result, ensure};
use orlop_control::types::UnitState;
use serde_json::json;

use crate::fixture::{self, PATIENCE};

/// Ends with 42 when asked to by its unit's own stop signal, and only then.
const POLITE: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \
    \"trap 'exit 42' USR1; echo ready; while :; do busybox sleep 1; done\"]\n\
    [stop]\nsignal = \"SIGUSR1\"\n";

/// Somebody presses the power button, as `virsh shutdown` does: the machine goes
/// off in order, its container stopped by its unit's stop signal. So it is when
/// an operator has it rebooted, and it comes back.
pub(crate) fn button() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let config = fixture::disk_of(&image, "power-button")?;
    let mut guest = fixture::boot(config.clone())?;
    fixture::apply(&guest, &[("polite", POLITE)])?;
    fixture::wait_output(&guest, &["logs", "polite"], "ready")?;
    let mut qemu = guest.machine().qmp()?;
    qemu.execute("system_powerdown", json!({}))?;
    guest.machine().wait_for_end(PATIENCE)?;
    let console = guest.console_text();
    ensure!(
        console.contains("power-off asked for by the power button"),
        "the console must say why:\n{}",
        guest.console_tail()
    );
    ensure!(
        console.contains("stopping every process") && !console.contains("did not end at SIGTERM"),
        "nothing of the host's own may hold it up:\n{}",
        guest.console_tail()
    );

    let mut guest = fixture::boot(config)?;
    fixture::wait_state(&guest, "polite", UnitState::Running)?;
    let codes = fixture::exit_codes(&guest, "polite")?;
    ensure!(codes == [Some(42)], "not its own end: {codes:?}");

    // It must be ready for its signal in this life, too.
    fixture::wait_output(&guest, &["logs", "polite"], "ready\nready")?;
    let before = guest.operator().status()?.boot_id;
    guest.operator().run(&["reboot"])?;
    fixture::wait("another boot", || {
        let status = guest.operator().status();
        Ok(status.is_ok_and(|host| host.boot_id != before))
    })?;
    fixture::wait_state(&guest, "polite", UnitState::Running)?;
    let codes = fixture::exit_codes(&guest, "polite")?;
    ensure!(codes == [Some(42); 2], "not its own end: {codes:?}");
    guest.power_off(PATIENCE)
}
