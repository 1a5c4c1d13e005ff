//! A booted host as an operator sees it: a machine, and the `orlop` command
//! pointed at it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use orlop_control::types::{HostStatus, UnitStatus};
use serde::de::DeserializeOwned;

use crate::build;
use crate::machine::{Config, Forward, Machine, free_port};

/// The API's port in every guest.
pub const API_PORT: u16 = 7470;

/// A running guest and the client configuration that reaches it.
pub struct Guest {
    machine: Machine,
    operator: Operator,
}

/// The `orlop` command with a configuration of its own.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Holds `config.toml` and the certificates.
    folder: PathBuf,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Operator {
    /// An operator whose files are in `folder` and whose host answers on the
    /// loopback's `port`.
    pub fn new(folder: &Path, port: u16) -> Operator {
        Operator {
            folder: folder.to_path_buf(),
            address: format!("127.0.0.1:{port}"),
        }
    }

    /// The client configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// The host's address as `--host` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The `orlop` command, pointed at the guest.
    pub fn command(&self) -> Command {
        let mut command = Command::new(build::binary("orlop"));
        command
            .env("ORLOP_CONFIG", self.config_file())
            .env("ORLOP_HOST", &self.address);
        command
    }

    /// Runs `orlop` with `arguments` and gives whatever came of it.
    ///
    /// # Errors
    ///
    /// Only when the command cannot be started.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        self.command()
            .args(arguments)
            .output()
            .context("cannot run the orlop command")
    }

    /// Runs `orlop` with `arguments`, which must succeed, and gives its standard
    /// output and standard error.
    ///
    /// # Errors
    ///
    /// When it fails; the error holds the end of its standard error.
    pub fn run_apart(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.try_run(arguments)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            bail!(
                "`orlop {}` ended with {}: {last}",
                arguments.join(" "),
                output.status
            );
        }
        Ok(output)
    }

    /// Runs `orlop` with `arguments` and gives its standard output.
    ///
    /// # Errors
    ///
    /// When it fails; the error holds what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        if !output.status.success() {
            bail!(
                "`orlop {}` ended with {}: {}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `orlop --output json` and parses the answer.
    ///
    /// # Errors
    ///
    /// When the command fails or prints something else.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        let text = self.run(&all)?;
        serde_json::from_str(&text).with_context(|| format!("orlop {arguments:?} printed {text}"))
    }

    /// Every unit.
    ///
    /// # Errors
    ///
    /// When the host does not answer.
    pub fn units(&self) -> Result<Vec<UnitStatus>> {
        self.json(&["ps"])
    }

    /// One unit.
    ///
    /// # Errors
    ///
    /// When there is none of that name or the host does not answer.
    pub fn unit(&self, name: &str) -> Result<UnitStatus> {
        // Not `status NAME`: that ends with 1 when the unit has failed.
        let found = self.units()?.into_iter().find(|unit| unit.name == name);
        found.with_context(|| format!("the host has no unit {name:?}"))
    }

    /// The host.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn status(&self) -> Result<HostStatus> {
        self.json(&["status"])
    }
}

impl Guest {
    /// Boots what `config` says, with the API on a free port of the loopback,
    /// and `operator_files` as the operator's folder.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn boot(mut config: Config, operator_files: &Path) -> Result<Guest> {
        let port = match config
            .forwards
            .iter()
            .find(|forward| forward.guest == API_PORT)
        {
            Some(forward) => forward.host,
            None => {
                let host = free_port(None)?;
                config.forwards.push(Forward {
                    host,
                    guest: API_PORT,
                });
                host
            }
        };
        let machine = Machine::start(config)?;
        Ok(Guest {
            machine,
            operator: Operator::new(operator_files, port),
        })
    }

    /// The machine beneath.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The `orlop` command for this guest.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// All that the console showed.
    pub fn console_text(&self) -> String {
        self.machine.console().text()
    }

    /// The console's end.
    pub fn console_tail(&self) -> String {
        self.machine.console().tail(40)
    }

    /// Waits for the console to show the host's fingerprint, and has the
    /// operator trust it.
    ///
    /// # Errors
    ///
    /// When it is not shown within `limit` or is refused.
    pub fn trust(&self, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let fingerprint = self.machine.console().wait_for(
            "a certificate's fingerprint",
            limit,
            fingerprint_in,
        )?;
        loop {
            // Ports and disks change from boot to boot, and the folder is ours.
            let _ = std::fs::remove_file(self.operator.config_file());
            let address = self.operator.address();
            let trusted = self
                .operator
                .run(&["trust", address, "--fingerprint", &fingerprint]);
            match trusted {
                Ok(_) => return Ok(fingerprint),
                Err(error) if Instant::now() >= deadline => return Err(error),
                // The manager may not listen yet, or was killed by a test.
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Waits until `ready` holds of the units, asking again and again.
    ///
    /// # Errors
    ///
    /// After `limit`, with the units as last seen and the console's end.
    pub fn wait_units(
        &self,
        what: &str,
        limit: Duration,
        ready: impl Fn(&[UnitStatus]) -> bool,
    ) -> Result<Vec<UnitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.operator.units();
            if let Ok(units) = &seen
                && ready(units)
            {
                return seen;
            }
            if Instant::now() > deadline {
                bail!(
                    "waited {} s for {what}; last seen: {seen:#?}; the console's end:\n{}",
                    limit.as_secs(),
                    self.machine.console().tail(40)
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Has the host power off in order, and waits for it.
    ///
    /// # Errors
    ///
    /// When the host refuses or does not go off within `limit`.
    pub fn power_off(&mut self, limit: Duration) -> Result<()> {
        self.operator.run(&["poweroff"])?;
        self.machine.wait_for_end(limit)
    }

    /// Leaves the guest running when this value goes.
    pub fn detach(self) {
        self.machine.detach();
    }
}

/// The first whole `SHA256:<64 hex>` word in what the console printed so far,
/// whose last word may still be on its way.
fn fingerprint_in(text: &str) -> Option<String> {
    text.match_indices("SHA256:").find_map(|(start, label)| {
        let digits = text.get(start + label.len()..start + label.len() + 64)?;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then(|| format!("{label}{digits}"))
    })
}

#[cfg(test)]
mod tests {
    use super::fingerprint_in;

    #[test]
    fn a_fingerprint_is_found_whole_or_not_at_all() {
        let hex = "0f".repeat(32);
        let line = format!("orlop: API on 10.0.2.15:7470, certificate SHA256:{hex} (orlop trust)");
        assert_eq!(fingerprint_in(&line), Some(format!("SHA256:{hex}")));
        for printed in 0..line.find(" (").expect("there") {
            assert_eq!(fingerprint_in(&line[..printed]), None, "{printed} letters");
        }
        let redrawn = format!("certificate SHA256:0f0f\n{line}");
        assert_eq!(fingerprint_in(&redrawn), Some(format!("SHA256:{hex}")));
    }
}
