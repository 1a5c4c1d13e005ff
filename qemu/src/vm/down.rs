//! `cargo vm down`: an orderly end for the guest that `up` left running.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::files::{self, Running};
use crate::console::Console;
use crate::guest::Operator;
use crate::qmp::Qmp;

/// How long an orderly shutdown may take beyond what the host says that its
/// containers need, before its power is cut; and QEMU to end then.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run() -> Result<()> {
    let Some(running) = Running::load()? else {
        println!("No guest is running.");
        return Ok(());
    };
    shut_down(&running, || false)?;
    println!("The guest is off.");
    Ok(())
}

/// Asks the host to power off, by its power button if it does not answer; cuts
/// its power when it takes too long, or at once when `hurried` says so.
pub(super) fn shut_down(running: &Running, hurried: impl Fn() -> bool) -> Result<()> {
    let operator = Operator::new(&files::operator(), running.api_port);
    let qemu = || Qmp::connect(&files::guest().join("qmp.sock"));
    if let Err(error) = operator.run(&["poweroff"]) {
        eprintln!("The host did not take the power-off ({error:#}); pressing its power button.");
        qemu()?.execute("system_powerdown", json!({}))?;
    }
    let console = Console::new(files::guest().join("console.log"));
    let given = || PATIENCE + announced(&console.text());
    if !gone_within(running, given, hurried)? {
        eprintln!(
            "The host is not off yet; cutting its power. Its console's end:\n{}",
            console.tail(10)
        );
        qemu()?.execute("quit", json!({}))?;
        if !gone_within(running, || PATIENCE, || false)? {
            bail!(
                "QEMU (process {}) does not end; end it by hand",
                running.pid
            );
        }
    }
    Running::forget();
    Ok(())
}

/// How long the host has said, on its `console`, that its containers may take to
/// stop: as long as their units give them.
fn announced(console: &str) -> Duration {
    let seconds = console.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(" containers to stop, ")?;
        rest.strip_suffix(" s at the most")?.parse().ok()
    });
    Duration::from_secs(seconds.unwrap_or(0))
}

fn gone_within(
    running: &Running,
    limit: impl Fn() -> Duration,
    hurried: impl Fn() -> bool,
) -> Result<bool> {
    let started = Instant::now();
    while started.elapsed() < limit() && !hurried() {
        if Running::load()?.is_none_or(|still| still.pid != running.pid) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::announced;

    #[test]
    fn the_host_says_how_long_its_containers_may_take() {
        let cases = [
            ("", 0),
            (
                "orlop: power-off asked for by the API: stopping containers\n",
                0,
            ),
            (
                "orlop: waiting for 2 containers to stop, 130 s at the most\n",
                130,
            ),
            ("orlop: waiting for 2 containers to stop, 13", 0),
            (
                "orlop: waiting for 1 containers to stop, 5 s at the most\nrestarting\n\
                 orlop: waiting for 3 containers to stop, 20 s at the most\nmore\n",
                20,
            ),
        ];
        for (console, seconds) in cases {
            assert_eq!(
                announced(console),
                Duration::from_secs(seconds),
                "{console}"
            );
        }
    }
}
