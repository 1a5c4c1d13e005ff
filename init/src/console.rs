//! Short lines to whoever watches the machine, and to the kernel's log.
//!
//! Writing never waits (a stopped serial line must not stop PID 1) and never
//! fails: what cannot be shown is gone.

use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// The longest line that is shown, in bytes; the kernel's log takes about 1000.
const MAX_LINE_BYTES: usize = 900;

/// The console and the kernel's log.
#[derive(Debug)]
pub(crate) struct Console {
    screen: Option<OwnedFd>,
    log: Option<OwnedFd>,
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
        }
    }

    /// Says `text` on the console and in the log.
    pub(crate) fn say(&self, text: &str) {
        let text = one_line(text);
        if let Some(screen) = &self.screen {
            let _ = rustix::io::write(screen, format!("orlop: {text}\r\n").as_bytes());
        }
        self.log("orlop-init", &text);
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

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(one_line("a\nb\x1b[31mc"), "a b [31mc");
        assert!(one_line(&"é".repeat(5000)).len() < MAX_LINE_BYTES + 8);
    }
}
