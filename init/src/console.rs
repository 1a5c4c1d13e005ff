//! Short lines to whoever watches the machine, and to the kernel's log.
//!
//! Writing never waits (a stopped serial line must not stop PID 1) and never
//! fails. A terminal takes nothing while somebody else writes to it, as the manager
//! does: such lines are owed, and shown in their order a moment later. Of a terminal
//! that takes nothing for long, what is beyond [`MAX_OWED_BYTES`] is gone.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// The longest line that is shown, in bytes; the kernel's log takes about 1000.
const MAX_LINE_BYTES: usize = 900;
/// The most that is kept for later, in bytes: a screenful.
const MAX_OWED_BYTES: usize = 8192;
/// How often, and after what pauses, the last words are tried.
const LAST_TRIES: u32 = 20;
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// The console and the kernel's log.
#[derive(Debug)]
pub(crate) struct Console {
    screen: Option<OwnedFd>,
    log: Option<OwnedFd>,
    /// What the screen has not taken yet.
    owed: Mutex<Vec<u8>>,
}

impl Console {
    /// Opens what there is; call it again once there is more.
    pub(crate) fn open() -> Self {
        let open = |path: &str| {
            let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok()
        };
        Self {
            screen: open("/dev/console"),
            log: open("/dev/kmsg"),
            owed: Mutex::default(),
        }
    }

    /// Says `text` on the console and in the log.
    pub(crate) fn say(&self, text: &str) {
        let text = one_line(text);
        let line = format!("orlop: {text}\r\n");
        let mut owed = self.owed();
        if self.screen.is_some() && owed.len() + line.len() <= MAX_OWED_BYTES {
            owed.extend_from_slice(line.as_bytes());
        }
        self.show(&mut owed);
        self.log("orlop-init", &text);
    }

    /// Never held while anything waits.
    fn owed(&self) -> MutexGuard<'_, Vec<u8>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is owed; whether that is all of it.
    pub(crate) fn catch_up(&self) -> bool {
        let mut owed = self.owed();
        self.show(&mut owed);
        owed.is_empty()
    }

    fn show(&self, owed: &mut Vec<u8>) {
        while let Some(screen) = self.screen.as_ref().filter(|_| !owed.is_empty()) {
            match rustix::io::write(screen, owed) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(taken) => drop(owed.drain(..taken)),
                Err(Errno::INTR) => {}
                // Nobody will see it.
                Err(_) => owed.clear(),
            }
        }
    }

    /// Shows what is owed before there is nobody to show it: waits for it, a little.
    pub(crate) fn last_words(&self) {
        for _ in 0..LAST_TRIES {
            if self.catch_up() {
                return;
            }
            sleep(LAST_PAUSE);
        }
    }

    /// Puts a line of `who` in the kernel's log only.
    pub(crate) fn log(&self, who: &str, text: &str) {
        if let Some(log) = &self.log {
            let _ = rustix::io::write(log, format!("<5>{who}: {}", one_line(text)).as_bytes());
        }
    }
}

/// `text` without control characters, cut to what fits.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= MAX_LINE_BYTES {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    /// A console whose screen is a pipe.
    fn piped() -> (OwnedFd, Console) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let console = Console {
            screen: Some(writer),
            log: None,
            owed: Mutex::default(),
        };
        (reader, console)
    }

    fn read_all(reader: &OwnedFd) -> Vec<u8> {
        let mut read = Vec::new();
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(reader, &mut part) {
            read.extend_from_slice(&part[..length]);
        }
        read
    }

    #[test]
    fn what_the_screen_does_not_take_comes_later_in_its_order() {
        let (reader, console) = piped();
        let screen = console.screen.as_ref().unwrap();
        while rustix::io::write(screen, &[b'.'; 512]).is_ok() {}
        console.say("one");
        console.say("two");
        assert!(!console.catch_up());
        assert!(read_all(&reader).iter().all(|byte| *byte == b'.'));
        console.say("three");
        assert!(console.catch_up());
        assert_eq!(
            read_all(&reader),
            b"orlop: one\r\norlop: two\r\norlop: three\r\n"
        );
    }

    #[test]
    fn a_screen_that_takes_nothing_costs_a_screenful_and_one_that_is_gone_nothing() {
        let (reader, console) = piped();
        let screen = console.screen.as_ref().unwrap();
        while rustix::io::write(screen, &[b'.'; 512]).is_ok() {}
        for _ in 0..10_000 {
            console.say("again and again");
        }
        let owed = console.owed().len();
        assert!(
            owed > MAX_OWED_BYTES / 2 && owed <= MAX_OWED_BYTES,
            "{owed}"
        );
        drop(reader);
        assert!(console.catch_up());
    }

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(one_line("a\nb\x1b[31mc"), "a b [31mc");
        assert!(one_line(&"é".repeat(5000)).len() < MAX_LINE_BYTES + 8);
    }
}
