//! `cargo vm up` and `cargo vm down` as a new user runs them, with a place of
//! their own: whoever has a guest running keeps it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::HostStatus;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::build::cargo;
use crate::{http, machine, paths};

/// What `cargo vm test NAME` knows it by.
pub(super) const NAME: &str = "up_and_down";

/// Boots a host three times: to leave it running, to interrupt it once it is
/// up, and to interrupt it before that.
pub(super) fn run() -> Result<()> {
    let place = paths::target().join("vm-trial");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let trial = Trial {
        host: host(&place)?,
        place,
        port: machine::free_port(None)?,
    };
    // What a failure leaves running is nobody's.
    let detached = trial.detached();
    detached.inspect_err(|_| drop(trial.vm(&["down"]).status()))?;
    trial.interrupted()?;
    trial.interrupted_while_booting()
}

/// A host TOML that is not the demo's.
fn host(place: &Path) -> Result<PathBuf> {
    let unit = paths::repository().join("configs/units/web.toml");
    let text = format!(
        "name = \"trial\"\nversion = \"1.0.0\"\n\n[image]\nunits = [{unit:?}]\n\
         containers = [{{ source = {:?}, reference = \"localhost/demo:1\" }}]\n\n\
         [api]\nclient-ca = {:?}\n",
        place.join("demo-container.tar"),
        place.join("operator/ca.crt"),
    );
    let path = place.join("trial.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

struct Trial {
    place: PathBuf,
    host: PathBuf,
    port: u16,
}

impl Trial {
    /// `cargo vm` with `words`. Not this program's own file, which the tests'
    /// build has replaced where it found other features to build it with.
    fn vm(&self, words: &[&str]) -> Command {
        let mut vm = cargo();
        vm.arg("vm").args(words).env(paths::VM_PLACE, &self.place);
        vm
    }

    fn up(&self, more: &[&str]) -> Command {
        let mut up = self.vm(&["up", "--memory", "768"]);
        up.arg("--host").arg(&self.host);
        up.arg("--port").arg(self.port.to_string()).args(more);
        up
    }

    /// Left running, driven with the lines that it prints, and shut down.
    fn detached(&self) -> Result<()> {
        let said = said(&mut self.up(&["--direct", "--detach"]))?;
        let under: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("Running under "))
            .collect();
        let [under] = under[..] else {
            bail!("not one line tells how it runs:\n{said}");
        };
        ensure!(under.contains("KVM") || under.contains("TCG"), "{under}");
        let url = format!("http://localhost:{}/", self.port);
        ensure!(said.contains(&url), "no {url}:\n{said}");
        let (status, page) = http::get(self.port, "/")?;
        ensure!(
            status == 200 && page.contains("It runs."),
            "{status}: {page}"
        );
        let units = orlop(&said, "ps")?;
        ensure!(units.contains("web"), "no web:\n{units}");
        let versions = orlop(&said, "version")?;
        ensure!(versions.contains("1.0.0"), "no host:\n{versions}");
        let host = host_of(&said)?;
        ensure!(host.serial == 0, "booted by a boot loader: {host:?}");
        let memory = host.memory_total >> 20;
        ensure!((600..768).contains(&memory), "{memory} MiB");

        let second = self.up(&["--detach"]).output()?;
        let complaint = String::from_utf8_lossy(&second.stderr);
        ensure!(
            !second.status.success() && complaint.contains("a guest is running already"),
            "a second guest: {second:?}"
        );
        let down = self::said(&mut self.vm(&["down"]))?;
        ensure!(down.contains("The guest is off."), "{down}");
        self.is_off()
    }

    /// Through firmware, on the same disk, and interrupted by Ctrl-C, which a
    /// terminal sends to all that it started.
    fn interrupted(&self) -> Result<()> {
        let mut up = self.up(&[]);
        let mut up = up.stdout(Stdio::piped()).process_group(0).spawn()?;
        let output = up.stdout.take().context("no output")?;
        let mut heard = String::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            heard.push_str(&line);
            heard.push('\n');
            if line.contains("Ctrl-C shuts it down") {
                let host = host_of(&heard)?;
                kill_process_group(Pid::from_child(&up), Signal::INT)?;
                ensure!(host.serial > 0, "booted by no boot loader: {host:?}");
            }
        }
        let status = up.wait()?;
        ensure!(status.success(), "{status}:\n{heard}");
        ensure!(
            heard.contains("Booting the same disk as before"),
            "a fresh disk:\n{heard}"
        );
        self.is_off()
    }

    /// Interrupted once its kernel has started PID 1.
    fn interrupted_while_booting(&self) -> Result<()> {
        let console = self.place.join("guest/console.log");
        std::fs::remove_file(&console)?;
        let mut up = self.up(&["--direct"]);
        up.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut up = up.process_group(0).spawn()?;
        while !std::fs::read_to_string(&console).is_ok_and(|text| text.contains("orlop:")) {
            ensure!(up.try_wait()?.is_none(), "it ended before it booted");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process_group(Pid::from_child(&up), Signal::INT)?;
        let ended = up.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&ended.stderr);
        ensure!(
            !ended.status.success() && complaint.contains("interrupted while booting"),
            "{}: {complaint}",
            ended.status
        );
        self.is_off()
    }

    /// It went off in order, and nothing of it is left.
    fn is_off(&self) -> Result<()> {
        let console = std::fs::read_to_string(self.place.join("guest/console.log"))?;
        if !console.contains("orlop: switching off") {
            bail!("its power was cut:\n{console}");
        }
        ensure!(
            !self.place.join("running.json").exists(),
            "it is still recorded"
        );
        Ok(())
    }
}

/// What the `orlop` command prints, run as `up` told.
fn orlop(told: &str, words: &str) -> Result<String> {
    let exports = told
        .lines()
        .filter(|line| line.trim().starts_with("export "));
    let exports: Vec<&str> = exports.collect();
    let script = format!("{}\norlop {words}", exports.join("\n"));
    said(Command::new("sh").arg("-c").arg(script))
}

fn host_of(told: &str) -> Result<HostStatus> {
    Ok(serde_json::from_str(&orlop(told, "status --output json")?)?)
}

/// What a command prints; its complaints are shown. It must succeed.
fn said(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}:\n{text}",
        output.status
    );
    Ok(text)
}
