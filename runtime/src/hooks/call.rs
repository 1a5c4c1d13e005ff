//! One call of one hook, to its end or to the end of its time.
//!
//! Everything is waited for in one poll: the hook's end, room for its input, its output, the end
//! of the container that it is for. A hook that reads nothing, writes without end or leaves
//! somebody behind who holds its streams open cannot keep us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::cgroup::timespec;

/// How much of what a hook says last is shown when it fails, in bytes.
const SHOWN: usize = 1024;
/// How long a hook that got SIGKILL may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Call<'c> {
    pub(super) hook: &'c Hook,
    /// Where it starts; `None` for where we are.
    pub(super) directory: Option<&'c Path>,
    /// What it finds on stdin.
    pub(super) input: &'c [u8],
    /// The process without which it is of no use, if there is one.
    pub(super) process: Option<BorrowedFd<'c>>,
}

/// What a hook was waited for until.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    ItEnded,
    Deadline,
    ProcessEnded,
}

impl Call<'_> {
    pub(super) fn run(&self) -> Result<()> {
        let mut child = self.command().spawn().context("cannot be executed")?;
        let pid = Pid::from_child(&child);
        let mut running = match Running::new(&mut child, pid, self) {
            Ok(running) => running,
            Err(errno) => {
                // Without a pidfd, its end can be had only this way.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(errno).context("watch its process");
            }
        };
        let seconds = self.hook.timeout().and_then(|s| u64::try_from(s).ok());
        let deadline = seconds.and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
        let until = running.wait(deadline);
        if !matches!(until, Ok(Until::ItEnded)) {
            running.kill();
            running.process = None;
            let gone = running.wait(Some(Instant::now() + END_WITHIN));
            let why = match until.context("wait for it")? {
                Until::ProcessEnded => {
                    "was killed, because the container's process had been".to_owned()
                }
                Until::ItEnded | Until::Deadline => format!(
                    "did not end within its timeout of {} s and was killed",
                    seconds.unwrap_or_default()
                ),
            };
            if !matches!(gone, Ok(Until::ItEnded)) {
                bail!("{why}, but does not end either, as process {pid}");
            }
            // It has ended, so this takes no time; the error is the timeout's anyway.
            let _ = child.wait();
            bail!("{why}{}", running.said());
        }
        running.read_rest();
        let status = child.wait().context("wait for it")?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => bail!("exited with status {code}{}", running.said()),
            (None, signal) => bail!(
                "was killed by signal {}{}",
                signal.unwrap_or_default(),
                running.said()
            ),
        }
    }

    /// In a process group of its own, with its own environment and none of our descriptors.
    fn command(&self) -> Command {
        let mut command = Command::new(self.hook.path());
        match self.hook.args().as_deref().unwrap_or_default() {
            [] => {}
            [name, rest @ ..] => {
                command.arg0(name).args(rest);
            }
        }
        let env = self.hook.env().iter().flatten();
        command
            .env_clear()
            .envs(env.filter_map(|entry| entry.split_once('=')))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        orlop_sys::pass::nothing_on(&mut command);
        // `run` blocks those that it passes on.
        orlop_sys::signals::unblock_in(&mut command);
        command
    }
}

/// A hook's process and our ends of its streams, each `None` once it is done with.
struct Running<'i> {
    pid: Pid,
    pidfd: OwnedFd,
    stdin: Option<OwnedFd>,
    input: &'i [u8],
    outputs: [Option<OwnedFd>; 2],
    last: Vec<u8>,
    process: Option<BorrowedFd<'i>>,
}

impl<'i> Running<'i> {
    fn new(child: &mut Child, pid: Pid, call: &Call<'i>) -> rustix::io::Result<Running<'i>> {
        let running = Running {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            stdin: child.stdin.take().map(OwnedFd::from),
            input: call.input,
            outputs: [
                child.stdout.take().map(OwnedFd::from),
                child.stderr.take().map(OwnedFd::from),
            ],
            last: Vec::new(),
            process: call.process,
        };
        for stream in running.stdin.iter().chain(running.outputs.iter().flatten()) {
            fcntl_setfl(stream, OFlags::NONBLOCK)?;
        }
        Ok(running)
    }

    /// Serves its streams until it has ended, or there is no use in waiting any more.
    fn wait(&mut self, deadline: Option<Instant>) -> rustix::io::Result<Until> {
        loop {
            let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
            fds.extend(self.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
            let outputs = self.outputs.iter().flatten();
            fds.extend(outputs.map(|fd| PollFd::new(fd, PollFlags::IN)));
            fds.extend(self.process.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.map(timespec);
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(Until::Deadline),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            if !fds[0].revents().is_empty() {
                return Ok(Until::ItEnded);
            }
            let last = fds.last().filter(|_| self.process.is_some());
            if last.is_some_and(|process| !process.revents().is_empty()) {
                return Ok(Until::ProcessEnded);
            }
            drop(fds);
            self.write();
            self.read();
            // One that never stops writing must not be served beyond its time.
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Until::Deadline);
            }
        }
    }

    fn write(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        match rustix::io::write(stdin, self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(Errno::AGAIN | Errno::INTR) => return,
            // It need not read what it is told.
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
    }

    /// Takes a little of each output. Says whether there was any.
    fn read(&mut self) -> bool {
        let mut any = false;
        for output in &mut self.outputs {
            let Some(fd) = output else { continue };
            let mut buffer = [0_u8; 4096];
            match rustix::io::read(fd.as_fd(), &mut buffer) {
                Ok(0) => *output = None,
                Ok(length) => {
                    any = true;
                    self.last.extend(&buffer[..length]);
                    let surplus = self.last.len().saturating_sub(SHOWN);
                    self.last.drain(..surplus);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => *output = None,
            }
        }
        any
    }

    /// What it wrote before its end, a pipe's worth at most: others may hold the other ends.
    fn read_rest(&mut self) {
        for _ in 0..32 {
            if !self.read() {
                return;
            }
        }
    }

    /// Kills it with its process group. It is not reaped yet, so the numbers are still its own.
    fn kill(&self) {
        // Whoever has ended needs no signal.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// What it said last, as the end of a sentence.
    fn said(&mut self) -> String {
        self.read_rest();
        let text = String::from_utf8_lossy(&self.last);
        match text.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

#[cfg(test)]
mod tests;
