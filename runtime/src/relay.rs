//! The foreground half of `run` and `exec`: waits for the process, passes signals on, and
//! moves bytes between the caller's terminal and the container's. All by one poll; no handler.
//!
//! Nothing else waits: whoever does not read cannot keep the bytes of the other direction, a
//! signal or the process's end from being seen.

mod flow;
mod stream;

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use orlop_sys::wait::{Ended, reap};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::cgroup::timespec;
use flow::Flow;
use stream::Stream;

/// Signals that are the container's business when they reach us, below those of real time: HUP,
/// INT, QUIT, USR1, USR2, ALRM, TERM, STKFLT, CONT, VTALRM, PROF, WINCH, IO and PWR. The others
/// tell of our own children, faults, limits, sockets and pipes, or stop us as a job of a shell.
const PASSED_ON: [i32; 14] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 26, 27, WINCH, 29, 30];
const WINCH: i32 = 28;
/// From SIGRTMIN, as C libraries count, to SIGRTMAX.
const REAL_TIME: RangeInclusive<i32> = 34..=64;
/// Of those, what is to end us: HUP, INT, QUIT and TERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// Of what a terminal's others write when the process has ended, no more than this is moved. It
/// is more than a terminal holds, so all is moved that the process itself wrote.
const LAST_BYTES: usize = 256 << 10;
/// How long stdout may take none of it.
const LAST_WAIT: Duration = Duration::from_secs(10);

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

/// Has the signals that are passed on wait, from now on.
pub(crate) fn signals() -> Result<OwnedFd> {
    let all: Vec<i32> = PASSED_ON.into_iter().chain(REAL_TIME).collect();
    Ok(orlop_sys::signals::open(&all)?)
}

/// Waits for the end of our child `pidfd`, relaying to and from `master` if there is one, and
/// `signals` to it.
pub(crate) fn foreground(
    pidfd: &OwnedFd,
    master: Option<OwnedFd>,
    signals: OwnedFd,
) -> Result<Ended> {
    let raw = master.as_ref().map(|_| Raw::enter());
    if let Some(master) = &master {
        // Whoever made it has let it go; it is ours alone.
        fcntl_setfl(master, OFlags::RDWR | OFlags::NONBLOCK)?;
        copy_size(master);
    }
    let mut relay = Relay {
        pidfd,
        signals,
        stdin: master.as_ref().map(|_| Stream::of(stdin(), OFlags::RDONLY)),
        stdout: Stream::of(stdout(), OFlags::WRONLY),
        master,
        input: Flow::new(),
        output: Flow::new(),
    };
    while relay.turn()? {}
    relay.drain()?;
    drop(raw);
    Ok(reap(pidfd)?)
}

struct Relay<'r> {
    pidfd: &'r OwnedFd,
    signals: OwnedFd,
    master: Option<OwnedFd>,
    /// `None` when nothing (more) comes from it.
    stdin: Option<Stream>,
    stdout: Stream,
    /// From stdin to the master.
    input: Flow,
    /// From the master to stdout.
    output: Flow,
}

/// What poll said of the descriptors that `Relay::wait` asked for; nothing of the others.
struct Ready {
    pidfd: PollFlags,
    signals: PollFlags,
    master: PollFlags,
    stdin: PollFlags,
    stdout: PollFlags,
}

impl Relay<'_> {
    /// One round; false when the process has ended.
    fn turn(&mut self) -> Result<bool> {
        let ready = self.wait()?;
        if !ready.signals.is_empty()
            && let Some(signal) = orlop_sys::signals::next(&self.signals)?
        {
            self.pass_on(signal)?;
        }
        if let (Some(stdin), false) = (&self.stdin, ready.stdin.is_empty())
            && !self.input.fill(|buffer| stdin.read(buffer))
        {
            self.stdin = None;
        }
        if ready.master.contains(PollFlags::HUP) {
            // Nobody is there to read it.
            self.input.clear();
        }
        if let Some(master) = &self.master
            && !ready.master.is_empty()
        {
            if !self.input.empty(|bytes| rustix::io::write(master, bytes)) {
                self.input.clear();
            }
            if !self.output.fill(|buffer| rustix::io::read(master, buffer)) {
                // Every other end is closed; what remains is to wait for the process.
                self.close();
            }
        }
        if !ready.stdout.is_empty() {
            self.write_out();
        }
        Ok(ready.pidfd.is_empty())
    }

    /// Waits for what can be gone on with.
    fn wait(&self) -> Result<Ready> {
        let mut ready = Ready {
            pidfd: PollFlags::empty(),
            signals: PollFlags::empty(),
            master: PollFlags::empty(),
            stdin: PollFlags::empty(),
            stdout: PollFlags::empty(),
        };
        let mut wanted: Vec<(BorrowedFd<'_>, PollFlags, &mut PollFlags)> = vec![
            (self.pidfd.as_fd(), PollFlags::IN, &mut ready.pidfd),
            (self.signals.as_fd(), PollFlags::IN, &mut ready.signals),
        ];
        if let Some(master) = &self.master {
            let (mut flags, to_read) = (PollFlags::empty(), self.output.is_empty());
            flags.set(PollFlags::IN, to_read);
            flags.set(PollFlags::OUT, !self.input.is_empty());
            // That all others are gone is said unasked, again and again.
            if !flags.is_empty() {
                wanted.push((master.as_fd(), flags, &mut ready.master));
            }
            if let (Some(stdin), true) = (&self.stdin, self.input.is_empty()) {
                wanted.push((stdin.as_fd(), PollFlags::IN, &mut ready.stdin));
            }
        }
        if !self.output.is_empty() {
            wanted.push((self.stdout.as_fd(), PollFlags::OUT, &mut ready.stdout));
        }
        let mut fds: Vec<_> = wanted
            .iter()
            .map(|(fd, flags, _)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        match poll(&mut fds, None) {
            Ok(_) => {
                for ((_, _, said), fd) in wanted.iter_mut().zip(&fds) {
                    **said = fd.revents();
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        drop((wanted, fds));
        Ok(ready)
    }

    fn write_out(&mut self) {
        if !self.output.empty(|bytes| self.stdout.write(bytes)) {
            self.output.clear();
            self.close();
        }
    }

    fn close(&mut self) {
        self.master = None;
        self.stdin = None;
        self.input.clear();
    }

    /// What the process wrote last. Others may still write there, without end; and who does
    /// not take what is written is not waited for without end.
    fn drain(&mut self) -> Result<()> {
        let mut left = LAST_BYTES;
        loop {
            if self.output.is_empty() {
                let Some(master) = self.master.as_ref().filter(|_| left > 0) else {
                    return Ok(());
                };
                let more = self.output.fill(|buffer| rustix::io::read(master, buffer));
                if !more || self.output.is_empty() {
                    return Ok(());
                }
                left = left.saturating_sub(self.output.len());
            }
            let mut fds = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.stdout, PollFlags::OUT),
            ];
            match poll(&mut fds, Some(&timespec(LAST_WAIT))) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let [signalled, writable] = fds.map(|fd| !fd.revents().is_empty());
            if signalled
                && orlop_sys::signals::next(&self.signals)?
                    .is_some_and(|signal| ENDING.contains(&signal))
            {
                return Ok(());
            }
            if writable {
                self.write_out();
            }
        }
    }

    fn pass_on(&self, signal: i32) -> Result<()> {
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
