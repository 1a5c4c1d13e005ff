//! Calls of `orlop-runtime`: the only way in which the manager touches a
//! container's process.
//!
//! Each call inherits the container's lock, so that a manager that comes after
//! a killed one can wait until a call that outlived it has ended. Every call and
//! every wait has an end: one container's trouble is not to become another's.

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long a call may take before it is killed.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the kernel may take to bury a killed call before it is left to.
const BURIAL: Duration = Duration::from_secs(5);
/// How long calls before this one are waited for: longer than any may take that
/// this manager made, as another's cannot be ended by it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(180);
/// The longest pause before a lock is tried again.
const LOCK_AGAIN: Duration = Duration::from_millis(200);
/// How much of what a call answers is read, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;
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
    call_timeout: Duration,
}

/// How a call ended, and what it said.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Runtime {
    /// The runtime `binary` with its state in `root`.
    pub fn new(binary: PathBuf, root: PathBuf) -> Runtime {
        Runtime {
            binary,
            root,
            call_timeout: CALL_TIMEOUT,
        }
    }

    /// Has the kernel read the program, while other things go on: each page of it
    /// is verified, for which the first container would wait.
    pub fn read_ahead(&self) {
        let binary = self.binary.clone();
        tokio::task::spawn_blocking(move || {
            let read = File::open(&binary).and_then(|mut file| {
                let pages = &mut std::io::sink();
                std::io::copy(&mut file, pages)
            });
            if let Err(error) = read {
                // Whoever runs it will say so again, and to whom it matters.
                tracing::debug!("{}: {error}", binary.display());
            }
        });
    }

    /// The lock of the container whose directory is `dir`, held until every
    /// process that has it is gone. Waits for calls that a killed manager left,
    /// but not for ever.
    pub async fn lock(dir: &Path) -> Result<OwnedFd> {
        lock_within(dir, LOCK_TIMEOUT).await
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
        let status = self.run(command).await?.status;
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
        let mut command = self.command(lock)?;
        command.args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ended { status, out, err } = self.run(command).await?;
        if status.success() {
            Ok(out)
        } else {
            Err(failure(args.first().unwrap_or(&""), status, &err))
        }
    }

    /// Runs a call to its end. One that takes too long, or is waited for no
    /// longer, is killed: it must not keep the container's lock.
    async fn run(&self, command: std::process::Command) -> Result<Ended> {
        let mut command = Command::from(command);
        let mut child = command.kill_on_drop(true).spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async {
            let (out, err, status) = tokio::join!(
                read(stdout, ANSWER_MAX),
                read(stderr, SAID_MAX),
                child.wait()
            );
            Ok(Ended {
                status: status?,
                out: out?,
                err: err?,
            })
        };
        if let Ok(ended) = tokio::time::timeout(self.call_timeout, all).await {
            return ended;
        }
        child.start_kill()?;
        // What even this does not end, the kernel holds; it is reaped later.
        let _ = tokio::time::timeout(BURIAL, child.wait()).await;
        let seconds = self.call_timeout.as_secs();
        Err(too_slow(format!(
            "the runtime did not answer in {seconds} s and was killed"
        )))
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

/// Asks for the lock again and again: a thread that waits in the kernel could
/// neither be told to stop nor do anything else.
async fn lock_within(dir: &Path, limit: Duration) -> Result<OwnedFd> {
    let file = open_lock(dir)?;
    let began = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(OwnedFd::from(file)),
            Err(Errno::WOULDBLOCK) if began.elapsed() < limit => {}
            Err(Errno::WOULDBLOCK) => {
                let text = "an earlier call of the runtime for this container does not end";
                return Err(too_slow(text.to_owned()));
            }
            Err(errno) => return Err(errno.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOCK_AGAIN);
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, max: u64) -> Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(max).read_to_end(&mut bytes).await?;
    }
    // The bound may cut a character, and a name in it may be any bytes.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn too_slow(text: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, text)
}

fn failure(verb: &str, status: ExitStatus, said: &str) -> std::io::Error {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// A runtime that is this script.
    fn script(dir: &Path, text: &str) -> Runtime {
        let binary = dir.join("runtime.sh");
        // Not by this process: a child of another test might still have the file
        // open to write when it is run.
        let made = std::process::Command::new("sh")
            .args([
                "-c",
                "printf '%s\\n' '#!/bin/sh' \"$1\" >\"$2\" && chmod 755 \"$2\"",
            ])
            .arg("sh")
            .arg(text)
            .arg(&binary)
            .status();
        assert!(made.unwrap().success());
        Runtime {
            binary,
            root: dir.to_owned(),
            call_timeout: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn a_call_that_does_not_end_is_killed_and_leaves_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let runtime = Runtime {
            call_timeout: Duration::from_secs(1),
            ..script(dir, "echo $$ >\"$(dirname $0)/hung\"\nexec sleep 1000")
        };
        let calls: [&str; 2] = ["start", "create"];
        for call in calls {
            let lock = Runtime::lock(dir).await.unwrap();
            let null = || OwnedFd::from(File::open("/dev/null").unwrap());
            let result = match call {
                "start" => runtime.start("web", &lock).await,
                _ => {
                    let output = [null(), null()];
                    runtime.create(dir, "web", output, &lock).await.map(drop)
                }
            };
            assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut, "{call}");
            let pid = std::fs::read_to_string(dir.join("hung")).unwrap();
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "{call}");
            drop(lock);
            lock_within(dir, Duration::ZERO).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let runtime = script(dir, "echo >\"$(dirname $0)/hung\"\nexec sleep 1000");
        let lock = Runtime::lock(dir).await.unwrap();
        let call = tokio::spawn(async move { runtime.start("web", &lock).await });
        while !dir.join("hung").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        Runtime::lock(dir).await.unwrap();
    }

    #[test]
    fn waiting_for_a_lock_keeps_no_thread_and_has_an_end() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let held = Runtime::lock(dir.path()).await.unwrap();
            let place = dir.path().to_owned();
            let waits = tokio::spawn(async move { Runtime::lock(&place).await.map(drop) });
            tokio::time::sleep(Duration::from_millis(20)).await;
            let work = tokio::task::spawn_blocking(|| ());
            let work = tokio::time::timeout(Duration::from_secs(60), work).await;
            assert!(work.is_ok(), "the only thread waits for a lock");
            let limit = Duration::from_millis(50);
            let error = lock_within(dir.path(), limit).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            drop(held);
            waits.await.unwrap().unwrap();
        });
    }

    #[tokio::test]
    async fn a_call_may_say_much_in_either_order() {
        let dir = tempfile::tempdir().unwrap();
        let text = "head -c 200000 /dev/zero | tr '\\0' x >&2; echo '{\"status\": \"running\"}'";
        let runtime = script(dir.path(), text);
        std::fs::create_dir(dir.path().join("web")).unwrap();
        std::fs::write(dir.path().join("web/state.json"), "").unwrap();
        let lock = Runtime::lock(dir.path()).await.unwrap();
        let found = runtime.state("web", &lock).await.unwrap();
        assert_eq!(found.unwrap().status, "running");
    }

    #[tokio::test]
    async fn an_answer_may_hold_any_bytes() {
        let said = "caf\u{e9}".as_bytes();
        assert_eq!(read(Some(said), 4).await.unwrap(), "caf\u{fffd}");
        assert_eq!(read(Some(said), 5).await.unwrap(), "caf\u{e9}");
    }
}
