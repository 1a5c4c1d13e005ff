//! Installs that were never decided, as they did not come up: what is told of them.

use orlop_control::types::{FailedUnit, FailedUpdate};
use orlop_slot::trial::{self, Installed};

use super::Case;
use super::panic::{self, Panic};

/// What stands for a unit where the kernel is to blame.
const KERNEL: &str = "the kernel";

impl Case {
    /// A newer install that was started as often as it might be, and never decided: it crashed or
    /// hung each time. None when there is none, or it is known.
    pub(super) fn find_given_up(&self, installed: &[Installed]) -> Option<FailedUpdate> {
        let serial = self.running.serial(None)?;
        let entry = trial::given_up(serial, installed)?;
        let known = self.shown.failed();
        if known.is_some_and(|failed| failed.serial >= u64::from(entry.serial)) {
            return None;
        }
        let starts = entry.tries.map_or(0, |tries| tries.done);
        let times = if starts == 1 {
            "once"
        } else {
            &format!("{starts} times")
        };
        let report = FailedUpdate {
            version: entry.version,
            serial: entry.serial.into(),
            reason: format!(
                "it was started {times} and never found good, as when it crashes or hangs"
            ),
            at: jiff::Timestamp::now(),
            boot_id: self.boot.boot_id.clone(),
            units: Vec::new(),
        };
        self.put_report(Some(&report));
        Some(report)
    }

    /// Tells of a kernel that panicked before this boot, if the firmware kept its words: with the
    /// install that was `given_up`, or by itself.
    pub(super) async fn tell_panic(&self, given_up: Option<FailedUpdate>) {
        let Some(panic) = panic::read().await else {
            return;
        };
        // An earlier manager of this boot may have written the report, and gone.
        let mut report = given_up.or_else(|| {
            let known = self.shown.failed()?;
            (known.boot_id == self.boot.boot_id).then_some(known)
        });
        match &mut report {
            Some(report) => self.blame_kernel(report, panic),
            None => {
                for line in &panic.lines {
                    tracing::warn!("the kernel that panicked: {line}");
                }
                let reason = panic.reason;
                self.shown
                    .warn(format!("the kernel panicked before this boot: {reason}"));
            }
        }
        panic::clear().await;
    }

    fn blame_kernel(&self, report: &mut FailedUpdate, panic: Panic) {
        if report.units.iter().any(|unit| unit.unit == KERNEL) {
            return;
        }
        let reason = &panic.reason;
        report
            .reason
            .push_str(&format!("; its kernel panicked: {reason}"));
        report.units.push(FailedUnit {
            unit: KERNEL.to_owned(),
            reason: panic.reason,
            log: panic.lines,
        });
        self.keep_report(report);
    }
}
