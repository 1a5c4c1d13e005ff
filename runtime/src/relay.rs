//! The foreground half of `run` and `exec`: waits for the process, passes signals on, and
//! moves bytes between the caller's terminal and the container's. All by poll; no handler.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use orlop_sys::wait::{Ended, reap};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Signals that are the container's business when they reach us: HUP, INT, QUIT, USR1, USR2,
/// TERM, CONT and WINCH.
const PASSED_ON: [i32; 8] = [1, 2, 3, 10, 12, 15, 18, WINCH];
const WINCH: i32 = 28;

/// The caller's terminal in raw mode, restored when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Raw {
        if !isatty(stdin()) {
            return Raw(None);
        }
        let Ok(before) = tcgetattr(stdin()) else {
            return Raw(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        let entered = tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok();
        Raw(entered.then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // At worst the terminal stays raw; there is nobody to tell.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Waits for the end of our child `pidfd`, relaying to and from `master` if there is one.
pub(crate) fn foreground(pidfd: &OwnedFd, master: Option<OwnedFd>) -> Result<Ended> {
    let signals = orlop_sys::signal::receive(&PASSED_ON)?;
    let raw = master.as_ref().map(|_| Raw::enter());
    if let Some(master) = &master {
        copy_size(master);
    }
    let mut relay = Relay {
        pidfd,
        signals,
        master,
        input: true,
    };
    while relay.turn()? {}
    relay.drain();
    drop(raw);
    Ok(reap(pidfd)?)
}

struct Relay<'r> {
    pidfd: &'r OwnedFd,
    signals: OwnedFd,
    master: Option<OwnedFd>,
    /// Whether there may be more on stdin.
    input: bool,
}

impl Relay<'_> {
    /// One round; false when the process has ended.
    fn turn(&mut self) -> Result<bool> {
        let stdin = stdin();
        let mut fds = vec![
            PollFd::new(self.pidfd, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        if let Some(master) = &self.master {
            fds.push(PollFd::new(master, PollFlags::IN));
            if self.input {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is = |index: usize| ready.get(index).copied().unwrap_or(false);
        drop(fds);
        if is(1) {
            self.pass_signal_on()?;
        }
        if is(2) {
            self.output();
        }
        if is(3) {
            self.input = self
                .master
                .as_ref()
                .is_some_and(|master| copy(stdin, master));
        }
        Ok(!is(0))
    }

    fn output(&mut self) {
        if !self
            .master
            .as_ref()
            .is_some_and(|master| copy(master, stdout()))
        {
            // Every other end is closed; what remains is to wait for the process.
            self.master = None;
        }
    }

    /// What the process wrote last.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            let mut fds = [PollFd::new(master, PollFlags::IN)];
            let now = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            if !matches!(poll(&mut fds, Some(&now)), Ok(1..)) {
                return;
            }
            self.output();
        }
    }

    fn pass_signal_on(&self) -> Result<()> {
        // struct signalfd_siginfo: 128 bytes, the number first.
        let mut info = [0_u8; 128];
        if rustix::io::read(&self.signals, &mut info)? < 4 {
            return Ok(());
        }
        let signal = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        match (&self.master, signal) {
            (Some(master), WINCH) => copy_size(master),
            _ => match orlop_sys::signal::send(self.pidfd, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            },
        }
        Ok(())
    }
}

fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(stdin()) {
        // A terminal of the wrong size still works.
        let _ = tcsetwinsize(master, size);
    }
}

/// Copies what is there; false at the end or when either side is gone.
fn copy(from: impl AsFd, to: impl AsFd) -> bool {
    let mut buffer = [0_u8; 8192];
    let got = match rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut buffer)) {
        Ok(0) | Err(_) => return false,
        Ok(got) => got,
    };
    let mut rest = &buffer[..got];
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(&to, rest)) {
            Ok(written) => rest = &rest[written..],
            Err(_) => return false,
        }
    }
    true
}
