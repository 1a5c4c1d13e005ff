//! A container's standard output and error: FIFOs that outlive the manager.

use std::io::Result;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, chownat, mkfifoat, open};

/// The names of the FIFOs in a container's directory, in the order in which
/// PID 1 keeps them.
pub const NAMES: [&str; 2] = ["stdout", "stderr"];

/// Makes both FIFOs, owned by the user that the container runs as (so that it
/// can open `/dev/stdout` again), and opens an end of each that never sees the
/// end of file.
pub fn make(dir: &Path, uid: u32, gid: u32) -> Result<[OwnedFd; 2]> {
    for name in NAMES {
        let path = dir.join(name);
        match mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        chownat(
            CWD,
            &path,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    open_ends(dir)
}

/// Opens the manager's ends.
pub fn open_ends(dir: &Path) -> Result<[OwnedFd; 2]> {
    let end = |name: &str| {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        open(dir.join(name), flags, Mode::empty())
    };
    Ok([end(NAMES[0])?, end(NAMES[1])?])
}

/// Opens the container's ends, blocking, for writing.
pub fn container_ends(dir: &Path) -> Result<[OwnedFd; 2]> {
    let end = |name: &str| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        open(dir.join(name), flags, Mode::empty())
    };
    Ok([end(NAMES[0])?, end(NAMES[1])?])
}
