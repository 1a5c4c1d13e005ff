//! The console's device, written by a thread of its own.
//!
//! A terminal that somebody has stopped (Ctrl-S, a serial line's flow control)
//! takes nothing for as long as it likes; the manager, which has one thread for
//! everything else, must not wait for it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How many texts may wait for a stopped console.
const WAITING: usize = 32;

/// A console that never makes its writer wait.
pub(super) struct Console {
    device: File,
    texts: SyncSender<Vec<u8>>,
    /// Texts that a stopped console has missed since it last took one.
    missed: usize,
}

impl Console {
    /// Opens the device at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or no thread can be made.
    pub(super) fn open(path: &Path) -> std::io::Result<Console> {
        let device = OpenOptions::new()
            .write(true)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap_or(0))
            .open(path)?;
        let (texts, waiting) = sync_channel(WAITING);
        let out = device.try_clone()?;
        std::thread::Builder::new()
            .name("console".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || write(out, &waiting))?;
        Ok(Console {
            device,
            texts,
            missed: 0,
        })
    }

    /// Rows and columns, as far as the device knows them.
    pub(super) fn size(&self) -> (usize, usize) {
        match rustix::termios::tcgetwinsize(&self.device) {
            Ok(size) if size.ws_row >= 5 && size.ws_col >= 20 => {
                (usize::from(size.ws_row), usize::from(size.ws_col))
            }
            Ok(_) | Err(_) => (25, 80),
        }
    }

    /// Shows `text`; `false` when a stopped console misses it. The first that is
    /// taken after that says how many were missed.
    pub(super) fn show(&mut self, text: &str) -> bool {
        let said = match self.missed {
            0 => text.to_owned(),
            missed => format!("\r\norlop: {missed} messages were not shown here\r\n{text}"),
        };
        let taken = self.texts.try_send(said.into_bytes()).is_ok();
        self.missed = if taken { 0 } else { self.missed + 1 };
        taken
    }
}

/// Ends when the console's owner has gone.
fn write(mut device: File, texts: &Receiver<Vec<u8>>) {
    for text in texts {
        // A console that has gone away may come back (a replugged serial adapter).
        let _ = device.write_all(&text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{Console, WAITING};

    #[test]
    fn a_stopped_console_is_not_waited_for_and_told_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        // Open at both ends, so that opening does not wait; nobody reads yet.
        let mut reader = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut console = Console::open(&path).unwrap();
        // More than a pipe and the queue hold: would it wait, this would not end.
        let text = "x".repeat(64 * 1024);
        let mut missed = (0..WAITING * 2).filter(|_| !console.show(&text)).count();
        assert!(missed > 0);

        let everything = std::thread::spawn(move || {
            let mut said = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            while !said.ends_with(b"again") {
                let count = reader.read(&mut buffer).unwrap();
                said.extend_from_slice(&buffer[..count]);
            }
            String::from_utf8(said).unwrap()
        });
        while !console.show("again") {
            missed += 1;
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let said = everything.join().unwrap();
        let counts = said.lines().filter_map(|line| {
            let (count, _) = line.strip_prefix("orlop: ")?.split_once(" messages")?;
            count.parse::<usize>().ok()
        });
        assert_eq!(counts.sum::<usize>(), missed);
    }
}
