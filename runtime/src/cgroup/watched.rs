//! A file of a cgroup that can be waited for: cgroup.events, memory.events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Result;

/// The open file. Until it is read once, the kernel calls it changed.
#[derive(Debug)]
pub(crate) struct Watched(OwnedFd);

impl Watched {
    pub(crate) fn open(cgroup: &Path, file: &str) -> Result<Watched> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(cgroup.join(file), flags, Mode::empty()).map(Watched)
    }

    /// The number of a `key number` line now; from here on a change can be waited for.
    pub(crate) fn value(&self, key: &str) -> Result<Option<u64>> {
        let mut text = [0_u8; 1024];
        let length = rustix::io::pread(&self.0, &mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..length]);
        Ok(flat(&text, key))
    }

    /// Waits for a change since it was last read, and no longer than that.
    pub(crate) fn wait(&self, at_most: Duration) -> Result<()> {
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        let timeout = timespec(at_most);
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).map(drop)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// As poll takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The number of a `key number` line.
pub(super) fn flat(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}
