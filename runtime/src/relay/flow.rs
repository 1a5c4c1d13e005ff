//! Bytes on their way in one direction: a bounded few, read only when those before are written.

use rustix::io::{Errno, Result};

const SIZE: usize = 8192;

pub(super) struct Flow {
    buffer: Box<[u8; SIZE]>,
    /// What waits: from here
    begin: usize,
    /// to here.
    end: usize,
}

impl Flow {
    pub(super) fn new() -> Flow {
        Flow {
            buffer: Box::new([0; SIZE]),
            begin: 0,
            end: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.begin
    }

    pub(super) fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    /// Takes what is there, if nothing waits. False at the end of the source.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> bool {
        if !self.is_empty() {
            return true;
        }
        match read(&mut self.buffer[..]) {
            Ok(0) => false,
            Ok(got) => {
                (self.begin, self.end) = (0, got);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// Gives what is taken of that which waits. False when nobody is there to take it.
    pub(super) fn empty(&mut self, write: impl FnOnce(&[u8]) -> Result<usize>) -> bool {
        if self.is_empty() {
            return true;
        }
        match write(&self.buffer[self.begin..self.end]) {
            Ok(written) => {
                self.begin += written;
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_waits_and_nothing_is_read_meanwhile() {
        let mut flow = Flow::new();
        assert!(flow.fill(|_| Err(Errno::AGAIN)) && flow.is_empty());
        assert!(flow.fill(|buffer| {
            buffer[..3].copy_from_slice(b"abc");
            Ok(3)
        }));
        assert!(flow.empty(|bytes| Ok(bytes.len() - 2)));
        assert!(flow.empty(|_| Err(Errno::AGAIN)));
        assert!(flow.fill(|_| Ok(9)));
        assert_eq!(flow.len(), 2);
        assert!(!flow.empty(|_| Err(Errno::PIPE)));
        assert!(flow.empty(|bytes| {
            assert_eq!(bytes, b"bc");
            Ok(2)
        }));
        assert!(flow.is_empty());
        assert!(flow.empty(|_| Err(Errno::PIPE)), "nothing is to be written");
        assert!(!flow.fill(|_| Ok(0)));
        assert!(!flow.fill(|_| Err(Errno::IO)));
    }
}
