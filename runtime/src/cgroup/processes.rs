//! Who lives in a cgroup, and in which one somebody does.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::{describe, mount_point, open};

/// The ids of all processes in the cgroup and below it, in order; none if it is gone.
pub(crate) fn processes(path: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    list_processes(path, 0, &mut pids).with_context(|| format!("list {}", describe(path)))?;
    pids.sort_unstable();
    Ok(pids)
}

fn list_processes(path: &Path, depth: usize, pids: &mut Vec<i32>) -> std::io::Result<()> {
    match std::fs::read_to_string(path.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) => match Errno::from_io_error(&error) {
            // Just gone; or a threaded cgroup, whose processes are listed above it.
            Some(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Some(Errno::OPNOTSUPP) => {}
            _ => return Err(error),
        },
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if depth < 64 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_processes(&entry.path(), depth + 1, pids)?;
        }
    }
    Ok(())
}

/// The cgroup that a process is in now, for `exec` and `start`.
pub(crate) fn open_of(pid: i32) -> Result<Option<OwnedFd>> {
    place_of(pid)?.map(|place| open(&place)).transpose()
}

/// The path of the cgroup that a process is in now; `None` without cgroup v2.
pub(super) fn place_of(pid: i32) -> Result<Option<PathBuf>> {
    let Some(mount) = mount_point() else {
        return Ok(None);
    };
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    let below = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(below.map(|below| mount.join(below)))
}
