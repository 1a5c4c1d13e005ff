//! User namespaces that exist only as a descriptor, and id-mapped clones of mounts.
//!
//! Safe from a process with threads (the manager's is a tokio process).

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Result;

use crate::clone::{kill_and_reap, sleeper};
use crate::mount::{Attributes, clone_tree, set_attributes};

/// One line of `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside, in the namespace of whoever writes the map.
    pub outside: u32,
    /// How many ids, at least 1.
    pub count: u32,
}

/// The text of a `uid_map` or `gid_map`.
#[must_use]
pub fn map_text(ranges: &[IdRange]) -> String {
    let mut text = String::new();
    for range in ranges {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
    }
    text
}

/// Writes both id maps of a process whose user namespace has none yet.
///
/// # Errors
/// EPERM when the caller may not map these ids or the maps were written before; EINVAL for
/// ranges that overlap or are empty, or more than 340 of them.
pub fn write_maps(pid: i32, uid_map: &[IdRange], gid_map: &[IdRange]) -> Result<()> {
    for (name, ranges) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let path = format!("/proc/{pid}/{name}");
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel takes a map in a single write or not at all.
        rustix::io::write(&file, map_text(ranges).as_bytes())?;
    }
    Ok(())
}

/// A new user namespace with these maps, kept alive by the descriptor alone.
///
/// A child made for it by clone3 lives until the maps are written: it has no exit signal, so
/// other waiters of this process do not see it.
///
/// # Errors
/// As for [`write_maps`]; ENOSPC or EUSERS when the machine's limit on user namespaces is
/// reached.
pub fn userns_fd(uid_map: &[IdRange], gid_map: &[IdRange]) -> Result<OwnedFd> {
    let child = sleeper(libc::CLONE_NEWUSER as u64)?;
    let opened = write_maps(child.pid, uid_map, gid_map).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid);
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    });
    kill_and_reap(&child)?;
    opened
}

/// A detached, private, recursive clone of the mount at `path`, id-mapped as `userns` maps:
/// a file whose owner on disk is the id N *inside* appears as the id that N maps to outside.
///
/// Attach it with [`crate::mount::attach`]. (An overlay on Linux 6.1 takes an id-mapped lower
/// directory only from an attached mount.)
///
/// # Errors
/// EINVAL when the file system has no id-mapped mounts (tmpfs before 6.3, overlayfs) or is
/// id-mapped already; EPERM without CAP_SYS_ADMIN in the initial user namespace.
pub fn open_tree_idmapped(path: impl rustix::path::Arg, userns: &OwnedFd) -> Result<OwnedFd> {
    let tree = clone_tree(CWD, path, true)?;
    let attributes = Attributes {
        propagation: libc::MS_PRIVATE,
        idmap: Some(std::os::fd::AsFd::as_fd(userns)),
        ..Attributes::default()
    };
    set_attributes(&tree, c"", true, attributes)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange {
        inside: 0,
        outside: 100_000,
        count: 65_536,
    };

    #[test]
    fn text_of_a_map() {
        let second = IdRange {
            inside: 65_536,
            outside: 7,
            count: 1,
        };
        assert_eq!(map_text(&[RANGE, second]), "0 100000 65536\n65536 7 1\n");
        assert_eq!(map_text(&[]), "");
    }

    /// Says why a test cannot be; `cargo vm test` forbids that.
    fn skipped(why: &str) {
        assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }

    /// Says that `what` cannot be tested.
    fn lacks_root(what: &str) -> bool {
        let lacks = !rustix::process::geteuid().is_root();
        if lacks {
            skipped(&format!("only root can test {what}"));
        }
        lacks
    }

    #[test]
    fn namespace_outlives_its_maker_and_leaves_no_child() {
        if lacks_root("mapping ids") {
            return;
        }
        // Several threads at once, as in the manager.
        let workers: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..10)
                        .filter(|_| userns_fd(&[RANGE], &[RANGE]).is_ok())
                        .count()
                })
            })
            .collect();
        for worker in workers {
            assert_eq!(worker.join().unwrap(), 10);
        }
        let fd = userns_fd(&[RANGE], &[RANGE]).unwrap();
        assert!(rustix::fs::fstat(&fd).is_ok());
        let bad = IdRange { count: 0, ..RANGE };
        assert!(userns_fd(&[bad], &[RANGE]).is_err());
    }

    #[test]
    fn idmapped_clone_shifts_owners() {
        if lacks_root("id-mapped mounts") {
            return;
        }
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let userns = userns_fd(&[RANGE], &[RANGE]).unwrap();
        let tree = match open_tree_idmapped(dir.path(), &userns) {
            Ok(tree) => tree,
            Err(rustix::io::Errno::INVAL) => {
                return skipped("this file system has no id-mapped mounts");
            }
            Err(errno) => panic!("open_tree_idmapped: {errno}"),
        };
        let stat = rustix::fs::statat(&tree, "file", rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (100_000, 100_000));
    }
}
