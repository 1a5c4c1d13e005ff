//! Which file systems are mounted where, as tables.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::ffi::CStr;
use std::fs;

/// One line of a table.
#[derive(Debug)]
pub(crate) struct Mount {
    fs: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: Option<&'static CStr>,
    /// Whether the machine does without when the kernel does not have it.
    optional: bool,
}

const NOSUID_NODEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const NOTHING: MountFlags = NOSUID_NODEV.union(MountFlags::NOEXEC);
const NOSUID_NOEXEC: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const fn mount(
    fs: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: Option<&'static CStr>,
) -> Mount {
    Mount {
        fs,
        at,
        flags,
        options,
        optional: false,
    }
}

/// In the initramfs; they move along to the root.
pub(crate) const EARLY: &[Mount] = &[
    mount("devtmpfs", "/dev", NOSUID_NOEXEC, Some(c"mode=0755")),
    mount("proc", "/proc", NOTHING, None),
    mount("sysfs", "/sys", NOTHING, None),
];

/// What moves from the initramfs to the root.
pub(crate) const MOVED: &[&str] = &["/dev", "/proc", "/sys"];

/// On the root, before modules are loaded.
pub(crate) const ROOT: &[Mount] = &[
    mount("tmpfs", "/run", NOSUID_NODEV, Some(c"mode=0755,size=25%")),
    mount("tmpfs", "/tmp", NOSUID_NODEV, Some(c"mode=1777,size=25%")),
    mount(
        "devpts",
        "/dev/pts",
        NOSUID_NOEXEC,
        Some(c"mode=0620,gid=5,ptmxmode=0666"),
    ),
    mount("tmpfs", "/dev/shm", NOTHING, Some(c"mode=1777,size=10%")),
    mount("mqueue", "/dev/mqueue", NOTHING, None),
    mount(
        "cgroup2",
        "/sys/fs/cgroup",
        NOTHING,
        Some(c"nsdelegate,memory_recursiveprot"),
    ),
];

/// On the root, once the boot's modules are loaded.
pub(crate) const LATE: &[Mount] = &[Mount {
    fs: "efivarfs",
    at: "/sys/firmware/efi/efivars",
    flags: NOTHING,
    options: None,
    optional: true,
}];

/// Mounts every line of `table`, making mount points that can be made. What is
/// mounted there already (a kernel that mounts /dev itself) stays.
pub(crate) fn mount_all(table: &[Mount]) -> Result<()> {
    for line in table {
        let _ = fs::create_dir_all(line.at);
        match rustix::mount::mount(line.fs, line.at, line.fs, line.flags, line.options) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(_) if line.optional => {}
            Err(errno) => {
                return Err(errno).with_context(|| {
                    format!(
                        "mounting {} on {}: expected the kernel to have it",
                        line.fs, line.at
                    )
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_device_file_systems_allows_devices_and_nothing_setuid() {
        for line in EARLY.iter().chain(ROOT).chain(LATE) {
            assert!(line.flags.contains(MountFlags::NOSUID), "{line:?}");
            let devices = matches!(line.fs, "devtmpfs" | "devpts");
            assert_eq!(!line.flags.contains(MountFlags::NODEV), devices, "{line:?}");
            assert!(
                line.at.starts_with('/') && !line.at.ends_with('/'),
                "{line:?}"
            );
        }
        assert!(
            MOVED
                .iter()
                .all(|at| EARLY.iter().any(|line| line.at == *at))
        );
    }
}
