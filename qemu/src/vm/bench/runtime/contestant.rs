//! One runtime, and what it is made to do: the same for each of them.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};

use super::bundle::Bundles;
use super::probe::{self, Words};

/// A runtime with a container that stays, for `exec`.
pub(super) struct Contestant<'b> {
    program: PathBuf,
    state: PathBuf,
    bundles: &'b Bundles,
    pid_file: PathBuf,
    stays: String,
}

/// What was seen in each turn, by command.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seen<T> {
    pub(super) run: Vec<T>,
    pub(super) create: Vec<T>,
    pub(super) start: Vec<T>,
    pub(super) delete: Vec<T>,
    pub(super) exec: Vec<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Seen<T> {
        Seen {
            run: Vec::new(),
            create: Vec::new(),
            start: Vec::new(),
            delete: Vec::new(),
            exec: Vec::new(),
        }
    }
}

impl<'b> Contestant<'b> {
    /// Installs the program in `place`, and starts the container that stays with it. `number`
    /// tells this runtime's containers from others'.
    ///
    /// A copy, as an installed one is: the kernel caches a file that was written in a row in
    /// larger pieces than one that a linker wrote here and there, and starts it faster.
    pub(super) fn new(
        program: &Path,
        number: usize,
        bundles: &'b Bundles,
        place: &Path,
    ) -> Result<Contestant<'b>> {
        let own = format!("orlop-bench-{}-{number}", std::process::id());
        let folder = place.join(format!("program-{number}"));
        std::fs::create_dir(&folder)?;
        let installed = folder.join(program.file_name().context("a program is a file")?);
        std::fs::copy(program, &installed).with_context(|| program.display().to_string())?;
        let contestant = Contestant {
            program: installed,
            state: place.join(format!("state-{number}")),
            bundles,
            pid_file: place.join(format!("pid-{number}")),
            stays: format!("{own}-stays"),
        };
        let id = contestant.stays.as_str();
        probe::clock(&contestant.create_words(&bundles.stays, id))?;
        probe::clock(&contestant.words(&["start", id]))?;
        Ok(contestant)
    }

    /// The first line of its `--version`.
    pub(super) fn version(&self) -> Result<String> {
        let output = Command::new(&self.program).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    pub(super) fn bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.program)?.len())
    }

    /// Does everything once, each call through `probe`.
    pub(super) fn turn<T>(
        &self,
        probe: impl Fn(&Words) -> Result<T>,
        seen: &mut Seen<T>,
    ) -> Result<()> {
        self.turn_of_whole_calls(&probe, seen)?;
        let id = format!("{}-ends", self.stays);
        let id = id.as_str();
        seen.create
            .push(probe(&self.create_words(&self.bundles.ends, id))?);
        let pid = self.created()?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        seen.start.push(probe(&self.words(&["start", id]))?);
        // It is our child: this process is the reaper of all below it.
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
        seen.delete.push(probe(&self.words(&["delete", id]))?);
        Ok(())
    }

    /// Does what leaves no process behind. (A tracer would stay with that one.)
    pub(super) fn turn_of_whole_calls<T>(
        &self,
        probe: impl Fn(&Words) -> Result<T>,
        seen: &mut Seen<T>,
    ) -> Result<()> {
        let id = format!("{}-ends", self.stays);
        let mut run = self.words(&["run", "--bundle"]);
        run.extend([self.bundles.ends.clone().into(), id.into()]);
        seen.run.push(probe(&run)?);
        let exec = self.words(&["exec", &self.stays, "/bin/true"]);
        seen.exec.push(probe(&exec)?);
        Ok(())
    }

    fn created(&self) -> Result<Pid> {
        let text = std::fs::read_to_string(&self.pid_file)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.with_context(|| format!("{} wrote the pid {text:?}", self.program.display()))
    }

    fn words(&self, words: &[&str]) -> Words {
        let mut all: Words = vec![self.program.clone().into(), "--root".into()];
        all.push(self.state.clone().into());
        all.extend(words.iter().map(Into::into));
        all
    }

    fn create_words(&self, bundle: &Path, id: &str) -> Words {
        let mut words = self.words(&["create", "--bundle"]);
        words.extend([bundle.into(), "--pid-file".into()]);
        words.extend([self.pid_file.clone().into(), id.into()]);
        words
    }
}

impl Drop for Contestant<'_> {
    fn drop(&mut self) {
        for id in [&self.stays, &format!("{}-ends", self.stays)] {
            // Most often it is gone already. Whatever else is wrong was an error before.
            let words = self.words(&["delete", "--force", id]);
            let _ = Command::new(&words[0])
                .args(&words[1..])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}
