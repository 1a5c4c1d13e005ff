//! Whether KVM works here, found by booting something under it.
//!
//! `/dev/kvm` may exist and hang every guest, so its presence says nothing; a
//! probe guest that reaches its own panic and resets within seconds does.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::machine;

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualisation, seen to work.
    Kvm,
    /// QEMU's own translation.
    Tcg,
}

impl Accel {
    /// QEMU's `-accel` and `-cpu` arguments.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// What the guest's kernel is told. It panics when a few ticks of the timer
    /// do not come in time, which on a busy machine they need not; under KVM it
    /// knows by itself that this check says nothing in a virtual machine.
    pub fn kernel_words(self) -> &'static str {
        match self {
            Accel::Kvm => "",
            Accel::Tcg => "no_timer_check",
        }
    }
}

/// How long the probe guest may take; a working KVM needs under two seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(6);

/// Whether KVM runs `kernel` here.
///
/// Returns the choice and the reason for it, in a line for the user.
pub fn probe(kernel: &Path) -> (Accel, String) {
    if let Err(error) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        return (
            Accel::Tcg,
            format!("software emulation (TCG): /dev/kvm: {error}"),
        );
    }
    let started = Instant::now();
    match runs(Accel::Kvm, kernel, PROBE_LIMIT) {
        Ok(true) => (
            Accel::Kvm,
            format!(
                "KVM (probe guest ran in {:.1} s)",
                started.elapsed().as_secs_f32()
            ),
        ),
        Ok(false) => (
            Accel::Tcg,
            format!(
                "software emulation (TCG): a probe guest under /dev/kvm did not run within {} s",
                PROBE_LIMIT.as_secs()
            ),
        ),
        Err(error) => (
            Accel::Tcg,
            format!("software emulation (TCG): the KVM probe failed: {error}"),
        ),
    }
}

/// Boots `kernel` without a root: it panics, and `panic=-1` with `-no-reboot`
/// makes QEMU leave. Whether QEMU leaves by itself within `limit`.
///
/// # Errors
///
/// When QEMU cannot be started or waited for.
pub fn runs(accel: Accel, kernel: &Path, limit: Duration) -> std::io::Result<bool> {
    let mut child = machine::with_this_thread()
        .args(["-nodefaults", "-machine", "q35", "-m", "256"])
        .args(accel.arguments())
        .args(["-display", "none", "-no-reboot", "-kernel"])
        .arg(kernel)
        .args(["-append", "panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
