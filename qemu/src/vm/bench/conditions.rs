//! What the figures were measured on, and whether it was quiet.

use std::fmt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// For how long the machine is watched before anything is measured.
const WATCH: Duration = Duration::from_secs(3);
/// How many processors may be busy with something else.
const BUSY_MAX: f64 = 0.15;

/// The machine that measures, and whether it was quiet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    /// Processors that were busy with other things, before and after.
    busy: Vec<f64>,
    load: String,
}

impl Machine {
    pub(super) fn now() -> Result<Machine> {
        let load = read("/proc/loadavg")?;
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Machine {
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            busy: vec![busy()?],
            load: load
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        })
    }

    /// Watches the machine once more, after the last figure.
    pub(super) fn at_end(&mut self) -> Result<()> {
        self.busy.push(busy()?);
        Ok(())
    }

    /// What spoils the figures.
    pub(super) fn warnings(&self) -> Vec<String> {
        let busy = self.busy.iter().copied().fold(0.0, f64::max);
        let mut warnings = Vec::new();
        if busy > BUSY_MAX {
            warnings.push(format!(
                "WARNING: this machine is not idle ({busy:.2} processors are busy with other \
                 things): times come out too long"
            ));
        }
        warnings
    }

    /// What it is.
    pub(super) fn name(&self) -> String {
        format!(
            "{} x {}, Linux {}",
            self.processors, self.processor, self.kernel
        )
    }

    /// What else it was doing, with the warnings.
    pub(super) fn quiet(&self) -> String {
        let [before, after] =
            [self.busy.first(), self.busy.last()].map(|busy| busy.copied().unwrap_or_default());
        let line = format!(
            "Processors busy with other things before and after: {before:.2}, {after:.2}; \
             load average before: {}.",
            self.load
        );
        [vec![line], self.warnings()].concat().join("\n")
    }
}

/// Of figures that guests gave.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conditions {
    #[serde(flatten)]
    pub(super) machine: Machine,
    emulation: &'static str,
    guest: &'static str,
    qemu: String,
    guest_kernel: String,
}

impl Conditions {
    pub(super) fn now() -> Result<Conditions> {
        let qemu = Command::new("qemu-system-x86_64")
            .arg("--version")
            .output()
            .context("cannot run qemu-system-x86_64")?;
        let qemu = String::from_utf8_lossy(&qemu.stdout);
        Ok(Conditions {
            machine: Machine::now()?,
            emulation: "TCG",
            guest: "2 processors, 1 GiB",
            qemu: qemu
                .split_whitespace()
                .nth(3)
                .unwrap_or("unknown")
                .to_owned(),
            guest_kernel: String::new(),
        })
    }

    /// The guest's kernel is known once one has booted.
    pub(super) fn guest_kernel(&mut self, release: &str) {
        self.guest_kernel = release.to_owned();
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Medians under QEMU {} ({}, {}) on {}; guest kernel {}. {}",
            self.qemu,
            self.emulation,
            self.guest,
            self.machine.name(),
            self.guest_kernel,
            self.machine.quiet()
        )
    }
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

/// How many processors are busy while this one waits.
fn busy() -> Result<f64> {
    let before = busy_ticks(&read("/proc/stat")?);
    sleep(WATCH);
    let ticks = busy_ticks(&read("/proc/stat")?).saturating_sub(before);
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(super::report::as_f64(ticks) / super::report::as_f64(per_second) / WATCH.as_secs_f64())
}

/// Ticks that all processors have worked since this machine started.
fn busy_ticks(stat: &str) -> u64 {
    // cpu user nice system idle iowait irq softirq ...
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).take(7).enumerate();
    numbers
        .filter(|(index, _)| !matches!(index, 3 | 4))
        .filter_map(|(_, number)| number.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::busy_ticks;

    #[test]
    fn waiting_is_not_work() {
        let stat = "cpu  100 20 30 4000 500 6 7 80 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), 163);
        assert_eq!(busy_ticks(""), 0);
    }
}
