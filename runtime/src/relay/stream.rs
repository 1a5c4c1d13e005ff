//! The caller's stdin and stdout, without ever waiting for them.
//!
//! O_NONBLOCK belongs to the open file description, which the caller and others have too, so it
//! is not set on theirs. A pipe or a terminal is opened once more instead, for a description of
//! our own; a socket is told with each call; a file keeps nobody waiting.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Result;
use rustix::net::{RecvFlags, SendFlags};
use rustix::termios::isatty;

/// What a pipe takes at once when poll says that it takes something.
const PIPE_BUF: usize = 4096;

pub(super) enum Stream {
    /// A description of our own, which does not block.
    Own(OwnedFd),
    Socket(BorrowedFd<'static>),
    /// A file, or what cannot be opened again: little at a time, and only when poll says so.
    Shared(BorrowedFd<'static>),
}

impl Stream {
    /// `mode` is RDONLY or WRONLY.
    pub(super) fn of(fd: BorrowedFd<'static>, mode: OFlags) -> Stream {
        let Ok(stat) = fstat(fd) else {
            return Stream::Shared(fd);
        };
        // What opens as ptmx is a new terminal each time.
        let ptmx = stat.st_rdev == rustix::fs::makedev(5, 2);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Stream::Socket(fd),
            FileType::Fifo => Stream::again(fd, mode),
            FileType::CharacterDevice if isatty(fd) && !ptmx => Stream::again(fd, mode),
            _ => Stream::Shared(fd),
        }
    }

    fn again(fd: BorrowedFd<'static>, mode: OFlags) -> Stream {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // It may be somebody else's, who made it before we became another user.
        rustix::fs::open(path, flags, Mode::empty()).map_or(Stream::Shared(fd), Stream::Own)
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Stream::Own(fd) => rustix::io::read(fd, buffer),
            Stream::Socket(fd) => {
                rustix::net::recv(fd, buffer, RecvFlags::DONTWAIT).map(|(got, _)| got)
            }
            Stream::Shared(fd) => rustix::io::read(fd, buffer),
        }
    }

    /// Only after poll has said that there is room.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Stream::Own(fd) => rustix::io::write(fd, bytes),
            Stream::Socket(fd) => {
                rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Stream::Shared(fd) => rustix::io::write(fd, &bytes[..bytes.len().min(PIPE_BUF)]),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Own(fd) => fd.as_fd(),
            Stream::Socket(fd) | Stream::Shared(fd) => *fd,
        }
    }
}
