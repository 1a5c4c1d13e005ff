//! Calls of `orlop-runtime`: the only way in which the manager touches a
//! container's process.
//!
//! Each call inherits the container's lock, so that a manager that comes after
//! a killed one can wait until a call that outlived it has ended.

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long a call may take before it is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of what a failed call says is kept, in bytes.
const SAID_MAX: u64 = 4096;

/// What the runtime says of a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Found {
    /// `creating`, `created`, `running` or `stopped`.
    pub status: String,
    /// Its first process; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
    /// That process's start time, in clock ticks.
    #[serde(default, rename = "startTime")]
    pub start_time: u64,
}

/// Where to find the runtime and its state.
#[derive(Debug, Clone)]
pub struct Runtime {
    binary: PathBuf,
    root: PathBuf,
}

impl Runtime {
    /// The runtime `binary` with its state in `root`.
    pub fn new(binary: PathBuf, root: PathBuf) -> Runtime {
        Runtime { binary, root }
    }

    /// The lock of the container whose directory is `dir`, held until every
    /// process that has it is gone. Waits for calls that a killed manager left.
    pub async fn lock(dir: &Path) -> Result<OwnedFd> {
        let file = open_lock(dir)?;
        tokio::task::spawn_blocking(move || {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(OwnedFd::from(file))
        })
        .await
        .map_err(std::io::Error::other)?
    }

    fn command(&self, lock: &OwnedFd) -> Result<std::process::Command> {
        let mut command = std::process::Command::new(&self.binary);
        command.arg("--root").arg(&self.root).stdin(Stdio::null());
        orlop_sys::pass::pass_on(&mut command, lock.try_clone()?);
        Ok(command)
    }

    /// Makes the container of the bundle in `dir`, with these ends as its
    /// output. Returns its first process.
    pub async fn create(
        &self,
        dir: &Path,
        id: &str,
        output: [OwnedFd; 2],
        lock: &OwnedFd,
    ) -> Result<i32> {
        let (log, pid_file) = (dir.join("create.log"), dir.join("pid"));
        let mut command = self.command(lock)?;
        command
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "text"]);
        command.args(["create", "--bundle"]).arg(dir);
        command.arg("--pid-file").arg(&pid_file).arg(id);
        let [stdout, stderr] = output;
        command.stdout(stdout).stderr(stderr);
        let status = wait(Command::from(command)).await?;
        if !status.success() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(failure("create", status, &said));
        }
        let pid = std::fs::read_to_string(&pid_file)?;
        pid.trim().parse().map_err(std::io::Error::other)
    }

    /// Lets a created container run.
    pub async fn start(&self, id: &str, lock: &OwnedFd) -> Result<()> {
        self.call(&["start", id], lock).await.map(|_| ())
    }

    /// Sends a signal to a container's first process, or with `all` to every
    /// one.
    pub async fn kill(&self, id: &str, signal: i32, all: bool, lock: &OwnedFd) -> Result<()> {
        let signal = signal.to_string();
        let args: &[&str] = if all {
            &["kill", "--all", id, &signal]
        } else {
            &["kill", id, &signal]
        };
        self.call(args, lock).await.map(|_| ())
    }

    /// Takes away whatever there is of a container; nothing is no error.
    pub async fn delete(&self, id: &str, lock: &OwnedFd) -> Result<()> {
        self.call(&["delete", "--force", id], lock)
            .await
            .map(|_| ())
    }

    /// What there is of a container; `None` without a trace of it.
    pub async fn state(&self, id: &str, lock: &OwnedFd) -> Result<Option<Found>> {
        if !self.root.join(id).join("state.json").exists() {
            return Ok(None);
        }
        let said = self.call(&["state", id], lock).await?;
        serde_json::from_str(&said)
            .map(Some)
            .map_err(std::io::Error::other)
    }

    async fn call(&self, args: &[&str], lock: &OwnedFd) -> Result<String> {
        let mut command = Command::from(self.command(lock)?);
        command.args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(false);
        let mut child = command.spawn()?;
        let (mut out, mut err) = (String::new(), String::new());
        let stdout = child.stdout.take().map(|pipe| pipe.take(64 * 1024));
        let stderr = child.stderr.take().map(|pipe| pipe.take(SAID_MAX));
        let all = async {
            if let Some(mut pipe) = stdout {
                pipe.read_to_string(&mut out).await?;
            }
            if let Some(mut pipe) = stderr {
                pipe.read_to_string(&mut err).await?;
            }
            child.wait().await
        };
        let status = tokio::time::timeout(CALL_TIMEOUT, all)
            .await
            .map_err(|_| too_slow())??;
        if status.success() {
            Ok(out)
        } else {
            Err(failure(args.first().unwrap_or(&""), status, &err))
        }
    }

    /// The runtime's binary and state directory, for exec sessions.
    pub fn parts(&self) -> (PathBuf, PathBuf) {
        (self.binary.clone(), self.root.clone())
    }
}

fn open_lock(dir: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
}

async fn wait(mut command: Command) -> Result<std::process::ExitStatus> {
    let mut child = command.spawn()?;
    match tokio::time::timeout(CALL_TIMEOUT, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.kill().await?;
            Err(too_slow())
        }
    }
}

fn too_slow() -> std::io::Error {
    let text = format!("the runtime did not answer in {} s", CALL_TIMEOUT.as_secs());
    std::io::Error::new(std::io::ErrorKind::TimedOut, text)
}

fn failure(verb: &str, status: std::process::ExitStatus, said: &str) -> std::io::Error {
    let said = said.lines().rfind(|line| !line.trim().is_empty());
    let said = said.unwrap_or("it said nothing").trim();
    let said = said.strip_prefix("orlop-runtime: ").unwrap_or(said);
    std::io::Error::other(match status.code() {
        Some(_) => said.to_owned(),
        None => format!("orlop-runtime {verb}: {status}: {said}"),
    })
}

/// Field 22 of `/proc/PID/stat`; none when there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may hold anything, also parentheses and spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}
