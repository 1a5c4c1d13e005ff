//! `cargo vm down`: an orderly end for the guest that `up` left running.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::files::{self, Running};
use crate::guest::Operator;
use crate::qmp::Qmp;

/// How long an orderly shutdown may take before the power button is tried, and
/// after it before QEMU is told to quit.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run() -> Result<()> {
    let Some(running) = Running::load()? else {
        println!("No guest is running.");
        return Ok(());
    };
    shut_down(&running)?;
    println!("The guest is off.");
    Ok(())
}

/// Asks the host to power off, then QEMU to quit if it does not.
pub(super) fn shut_down(running: &Running) -> Result<()> {
    let operator = Operator::new(&files::operator(), running.api_port);
    let asked = operator.run(&["poweroff"]);
    if asked.is_ok() && gone_within(running, PATIENCE)? {
        Running::forget();
        return Ok(());
    }
    if let Err(error) = asked {
        eprintln!("The host did not take the power-off ({error:#}); switching it off.");
    }
    Qmp::connect(&files::guest().join("qmp.sock"))?.execute("quit", json!({}))?;
    if !gone_within(running, PATIENCE)? {
        bail!(
            "QEMU (process {}) does not end; end it by hand",
            running.pid
        );
    }
    Running::forget();
    Ok(())
}

fn gone_within(running: &Running, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if Running::load()?.is_none_or(|still| still.pid != running.pid) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}
