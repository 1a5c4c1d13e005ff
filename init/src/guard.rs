//! A boot that hangs ends in a reset, as one that fails does.
//!
//! A disk that swallows a request holds whoever waits for it, for ever and past
//! every signal; so a thread of its own counts the time of each phase, and feeds
//! the watchdog once there is one. The supervisor needs neither: it never waits
//! for a disk, and feeds the watchdog itself.

use crate::command_line;
use crate::console::Console;
use crate::power;
use orlop_sys::watchdog::Watchdog;
use rustix::system::{RebootCommand, reboot};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a phase may take when the command line has no
/// `orlop.phase-limit=SECONDS`: far more than any that goes on, and the kernel
/// gives a disk's request up by itself after a few minutes.
const LIMIT: Duration = Duration::from_secs(600);
/// How long the reason of a reset takes through a slow serial line.
const SAID: Duration = Duration::from_secs(2);
/// How often the watchdog is fed.
const FEED: Duration = Duration::from_secs(5);

/// The boot's guard; it ends with [`Guard::over`] or a reset.
pub(crate) struct Guard {
    words: mpsc::Sender<Word<Watchdog>>,
    thread: JoinHandle<Option<Watchdog>>,
    limit: Duration,
}

/// The least limit, in seconds: the disk is waited for that long and more, and a
/// check of the state partition first tells of itself after ten.
const LIMIT_MIN_S: u32 = 45;

/// What the guard is told.
enum Word<D> {
    /// This phase begins, or has just made progress, and may take so long.
    Within(&'static str, Duration),
    /// To be fed from now on.
    Feed(D),
    Over,
}

impl Guard {
    /// Begins. Signals that PID 1 reads must be blocked before, or the thread
    /// takes them.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn begin() -> io::Result<Self> {
        let (words, told) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("guard".into())
            .spawn(move || watch(&told, feed, reset))?;
        Ok(Self {
            words,
            thread,
            limit: LIMIT,
        })
    }

    /// Takes the limit of a kernel's command line.
    pub(crate) fn configure(&mut self, command_line: &str) {
        self.limit = limit(command_line);
    }

    /// The phase `name` begins, or goes on where that takes long.
    pub(crate) fn phase(&self, name: &'static str) {
        // The thread lives for as long as this.
        let _ = self.words.send(Word::Within(name, self.limit));
    }

    /// Has the watchdog fed until the boot is over.
    pub(crate) fn feed(&self, watchdog: Watchdog) {
        let _ = self.words.send(Word::Feed(watchdog));
    }

    /// The boot is over: gives the watchdog back.
    pub(crate) fn over(self) -> Option<Watchdog> {
        let _ = self.words.send(Word::Over);
        // One that panicked has ended PID 1 with it.
        self.thread.join().ok().flatten()
    }
}

/// Feeds and waits until it is over, or calls `expired` with the phase that took
/// too long.
fn watch<D>(
    told: &mpsc::Receiver<Word<D>>,
    feed: impl Fn(&D),
    expired: impl FnOnce(&'static str, Duration),
) -> Option<D> {
    let (mut name, mut limit) = ("initramfs", LIMIT);
    let mut until = Instant::now() + limit;
    let mut device = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match told.recv_timeout(FEED.min(left)) {
            Ok(Word::Within(next, within)) => {
                (name, limit) = (next, within);
                until = Instant::now() + limit;
            }
            Ok(Word::Feed(given)) => device = Some(given),
            Ok(Word::Over) | Err(RecvTimeoutError::Disconnected) => return device,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                expired(name, limit);
                // Unfed from here on, should even the reset hang.
                return device;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        device.iter().for_each(&feed);
    }
}

fn feed(watchdog: &Watchdog) {
    if let Err(errno) = watchdog.feed() {
        Console::open().say(&format!("feeding the watchdog: {errno}"));
    }
}

/// Resets the machine by all means: one of its devices is what hangs.
fn reset(phase: &'static str, limit: Duration) {
    let console = Console::open();
    console.say(&format!(
        "cannot boot: {phase:?} hangs, after {} s: restarting",
        limit.as_secs()
    ));
    // A reset waits for no terminal, and these words are to be read.
    thread::sleep(SAID);
    if let Err(error) = power::reset() {
        console.say(&format!("/proc/sysrq-trigger: {error}"));
        let _ = reboot(RebootCommand::Restart);
    }
}

/// `orlop.phase-limit=SECONDS`, at least [`LIMIT_MIN_S`].
fn limit(command_line: &str) -> Duration {
    command_line::value(command_line, "orlop.phase-limit")
        .and_then(|text| text.parse().ok())
        .map_or(LIMIT, |seconds: u32| {
            Duration::from_secs(seconds.max(LIMIT_MIN_S).into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_phase_that_takes_too_long_is_told_by_name() {
        let (words, told) = mpsc::channel::<Word<()>>();
        words.send(Word::Within("modules", LIMIT)).unwrap();
        words.send(Word::Feed(())).unwrap();
        words.send(Word::Within("state", SHORT)).unwrap();
        let found = RefCell::new(None);
        let expired = |name, limit| *found.borrow_mut() = Some((name, limit));
        watch(&told, |()| {}, expired);
        assert_eq!(found.into_inner(), Some(("state", SHORT)));
    }

    #[test]
    fn a_boot_that_is_over_gives_the_fed_watchdog_back() {
        let (words, told) = mpsc::channel();
        words.send(Word::Within("state", LIMIT)).unwrap();
        words.send(Word::Feed(7)).unwrap();
        words.send(Word::Within("identity", LIMIT)).unwrap();
        words.send(Word::Over).unwrap();
        let fed = Cell::new(0);
        let feed = |_: &i32| fed.set(fed.get() + 1);
        let expired = |name, _| panic!("{name} took no time");
        assert_eq!(watch(&told, feed, expired), Some(7));
        assert_eq!(fed.get(), 2);
    }

    #[test]
    fn the_limit_is_bounded() {
        for (line, seconds) in [
            ("", 600),
            ("a orlop.phase-limit=60 b", 60),
            ("orlop.phase-limit=1", 45),
            ("orlop.phase-limit=x", 600),
        ] {
            assert_eq!(limit(line).as_secs(), seconds, "{line}");
        }
    }
}
