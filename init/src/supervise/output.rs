//! What the manager writes to its output streams: into the kernel's log, line
//! by line, so that a manager which dies early has still been heard.
//!
//! One pipe serves every manager; PID 1 holds both ends, so it never ends.

use crate::console::Console;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const MAX_LINE_BYTES: usize = 800;
/// The most bytes read in one turn.
const MAX_A_TURN: usize = 64 * 1024;

/// The pipe and the line that is being read.
pub(super) struct Output {
    reader: OwnedFd,
    writer: OwnedFd,
    line: Vec<u8>,
    last: String,
}

impl Output {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: the manager's writes wait rather than fail.
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok(Self {
            reader,
            writer,
            line: Vec::new(),
            last: String::new(),
        })
    }

    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(super) fn writer(&self) -> &OwnedFd {
        &self.writer
    }

    /// The last whole line, once.
    pub(super) fn take_last(&mut self) -> String {
        std::mem::take(&mut self.last)
    }

    /// Passes on what has come.
    pub(super) fn relay(&mut self, console: &Console) {
        let mut buffer = [0; 4096];
        for _ in 0..MAX_A_TURN / 4096 {
            match rustix::io::read(&self.reader, &mut buffer) {
                Ok(got @ 1..) => {
                    self.take(&buffer[..got], |line| console.log("orlop-manager", line))
                }
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() >= MAX_LINE_BYTES {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                emit(&line);
                if !line.trim().is_empty() {
                    self.last = line;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_bounded() {
        let mut output = Output::new().unwrap();
        let mut lines = Vec::new();
        for part in ["one\ntw", "o\n", &"x".repeat(MAX_LINE_BYTES + 3), "\n\n"] {
            output.take(part.as_bytes(), |line| lines.push(line.to_owned()));
        }
        assert_eq!(lines[..2], ["one", "two"]);
        assert_eq!(lines[2].len(), MAX_LINE_BYTES);
        assert_eq!(output.take_last(), "xxx");
        assert_eq!(output.take_last(), "");
    }
}
