//! A terminal of the test's own, with a command on it: what a person would type
//! is written to it, what they would see is read from it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::fixture::PATIENCE;

/// A terminal and the command that has it.
pub(crate) struct Terminal {
    /// The end that a person's keyboard and eyes are at.
    person: File,
    /// The other end, kept open so that its settings can be asked for afterwards.
    line: OwnedFd,
    before: Termios,
    child: Child,
    printed: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs `command` on a new terminal of `rows` and `columns`.
    pub(crate) fn run(command: &Command, rows: u16, columns: u16) -> Result<Terminal> {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&person)?;
        unlockpt(&person)?;
        let name = ptsname(&person, Vec::new())?;
        let line = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        tcsetwinsize(&line, size(rows, columns))?;
        let before = tcgetattr(&line)?;
        // It becomes the terminal of a session of its own, as at a login: only
        // then does the command hear of its size.
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            session.env(name, value.unwrap_or_default());
        }
        let end = || line.try_clone().map(Stdio::from);
        let child = session
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()
            .context("cannot run setsid")?;
        let person = File::from(person);
        let printed = read_on(person.try_clone()?);
        Ok(Terminal {
            person,
            line,
            before,
            child,
            printed,
            seen: String::new(),
        })
    }

    /// Types `keys`.
    pub(crate) fn type_in(&mut self, keys: &str) -> Result<()> {
        Ok(self.person.write_all(keys.as_bytes())?)
    }

    /// Waits for `wanted` to be shown after all that was waited for before.
    pub(crate) fn expect(&mut self, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.printed.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("the terminal never showed {wanted:?}, only {:?}", self.seen)
                }
            }
        }
    }

    /// Gives it another size, as a person does who draws at their window.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.line, size(rows, columns))?)
    }

    /// Sends the command a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Whether keys go to the command as they are typed, Ctrl-C included.
    pub(crate) fn is_raw(&self) -> Result<bool> {
        let cooked = LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO;
        Ok(!tcgetattr(&self.line)?.local_modes.intersects(cooked))
    }

    /// Waits for the command's end: its exit code. The terminal must then be as
    /// it was before.
    pub(crate) fn end(&mut self) -> Result<Option<i32>> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "it does not end: {:?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let after = tcgetattr(&self.line)?;
        let modes = |of: &Termios| {
            (
                of.input_modes,
                of.output_modes,
                of.control_modes,
                of.local_modes,
            )
        };
        ensure!(
            modes(&after) == modes(&self.before),
            "the terminal's settings were {:?} and are {after:?}",
            self.before
        );
        ensure!(status.signal().is_none(), "it ended by {status}");
        Ok(status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// What is printed from now on, read by a thread that ends with the terminal.
fn read_on(mut person: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = person.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
