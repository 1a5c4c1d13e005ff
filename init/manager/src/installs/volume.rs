//! The boot partition's file system, mounted while it is looked at or written to, and nowhere: the
//! mount has no place in any directory and ends with the descriptor that holds it, so that a manager
//! that is killed leaves none behind.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// What a mount is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading.
    Read,
    /// Writing; each change of a directory is on the disk before the next is begun.
    Write,
}

/// A mount of the volume.
#[derive(Debug)]
pub(super) struct Volume(OwnedFd);

const BUSY: i32 = Errno::BUSY.raw_os_error();
/// How often what is busy is tried again, and the pause between.
const BUSY_TRIES: (u32, Duration) = (500, Duration::from_millis(20));

/// Takes a device with `take`, which may be busy for a while: a mount or a descriptor that was given
/// back lasts until every process that this one is starting has executed its program; until then it
/// has a copy.
///
/// # Errors
/// `take`'s; `EBUSY` when somebody uses the device all the time.
pub(super) fn once_free<T>(mut take: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let (mut tries, pause) = BUSY_TRIES;
    loop {
        match take() {
            Err(error) if error.raw_os_error() == Some(BUSY) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(pause);
            }
            taken => return taken,
        }
    }
}

impl Volume {
    /// Mounts the volume on `device`.
    ///
    /// # Errors
    /// The system's; `ENODEV` while the kernel has no vfat yet.
    pub(super) fn mount(device: &Path, access: Access) -> io::Result<Volume> {
        // What is mounted for reading cannot be mounted for writing as well.
        once_free(|| Volume::mount_now(device, access))
    }

    fn mount_now(device: &Path, access: Access) -> io::Result<Volume> {
        use rustix::mount::{
            fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        };
        let volume = fsopen(c"vfat", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&volume, c"source", device)?;
        let harmless = MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let flags = match access {
            Access::Read => {
                fsconfig_set_flag(&volume, c"ro")?;
                harmless | MountAttrFlags::MOUNT_ATTR_RDONLY
            }
            Access::Write => {
                fsconfig_set_flag(&volume, c"dirsync")?;
                harmless
            }
        };
        fsconfig_create(&volume)?;
        Ok(Volume(fsmount(
            &volume,
            FsMountFlags::FSMOUNT_CLOEXEC,
            flags,
        )?))
    }

    /// Where its files are, while this lives.
    pub(super) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_is_waited_for() {
        let mut left = 100;
        let taken = once_free(|| {
            left -= 1;
            match left {
                0 => Ok("free"),
                _ => Err(io::Error::from(Errno::BUSY)),
            }
        });
        assert_eq!(taken.unwrap(), "free");
        let refused = once_free(|| Err::<(), _>(io::Error::from(Errno::NODEV)));
        let code = refused.unwrap_err().raw_os_error();
        assert_eq!(code, Some(Errno::NODEV.raw_os_error()));
    }
}
