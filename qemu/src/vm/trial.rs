//! `cargo vm up` and `cargo vm down` as a new user runs them, with a place of
//! their own: whoever has a guest running keeps it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::build::cargo;
use crate::{http, machine, paths};

/// What `cargo vm test NAME` knows it by.
pub(super) const NAME: &str = "up_and_down";

/// Boots a host twice, once to leave it running and once to interrupt it.
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
    trial.detached()?;
    trial.interrupted()
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
        let mut up = self.vm(&["up", "--direct", "--memory", "768"]);
        up.arg("--host").arg(&self.host);
        up.arg("--port").arg(self.port.to_string()).args(more);
        up
    }

    /// Left running, driven with the lines that it prints, and shut down.
    fn detached(&self) -> Result<()> {
        let said = said(&mut self.up(&["--detach"]))?;
        let url = format!("http://localhost:{}/", self.port);
        ensure!(said.contains(&url), "no {url}:\n{said}");
        let (status, page) = http::get(self.port, "/")?;
        ensure!(
            status == 200 && page.contains("It runs."),
            "{status}: {page}"
        );

        let mut shell = Command::new("sh");
        let exports = said
            .lines()
            .filter(|line| line.trim().starts_with("export "));
        let exports: Vec<&str> = exports.collect();
        shell
            .arg("-c")
            .arg(format!("{}\norlop ps", exports.join("\n")));
        let units = self::said(&mut shell)?;
        ensure!(units.contains("web"), "no web:\n{units}");

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

    /// Interrupted by Ctrl-C, on the same disk.
    fn interrupted(&self) -> Result<()> {
        let mut up = self.up(&[]).stdout(Stdio::piped()).spawn()?;
        let output = up.stdout.take().context("no output")?;
        let mut heard = String::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            heard.push_str(&line);
            heard.push('\n');
            if line.contains("Ctrl-C shuts it down") {
                let pid = Pid::from_child(&up);
                kill_process(pid, Signal::INT)?;
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
