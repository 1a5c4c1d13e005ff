//! Which namespaces a container gets: new ones, and ones to join by path.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType};
use orlop_sys::idmap::IdRange;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::standing::Standing;
use libc_flags::{CGROUP, IPC, MOUNT, NETWORK, PID, TIME, USER, UTS};

/// `CLONE_NEW*` of linux/sched.h.
pub(crate) mod libc_flags {
    pub(crate) const CGROUP: i32 = 0x0200_0000;
    pub(crate) const IPC: i32 = 0x0800_0000;
    pub(crate) const MOUNT: i32 = 0x0002_0000;
    pub(crate) const NETWORK: i32 = 0x4000_0000;
    pub(crate) const PID: i32 = 0x2000_0000;
    pub(crate) const TIME: i32 = 0x80;
    pub(crate) const USER: i32 = 0x1000_0000;
    pub(crate) const UTS: i32 = 0x0400_0000;
}

/// O_NONBLOCK.
const NONBLOCK: i32 = OFlags::NONBLOCK.bits() as i32;

/// The flag of a kind.
fn flag(kind: LinuxNamespaceType) -> i32 {
    match kind {
        LinuxNamespaceType::Cgroup => CGROUP,
        LinuxNamespaceType::Ipc => IPC,
        LinuxNamespaceType::Mount => MOUNT,
        LinuxNamespaceType::Network => NETWORK,
        LinuxNamespaceType::Pid => PID,
        LinuxNamespaceType::User => USER,
        LinuxNamespaceType::Uts => UTS,
        LinuxNamespaceType::Time => TIME,
    }
}

/// Whether it is to be made: it has no path, or an empty one, and is not another's to be joined.
pub(crate) fn is_new(namespace: &LinuxNamespace) -> bool {
    let path = namespace.path().as_ref();
    path.is_none_or(|path| path.as_os_str().is_empty())
}

/// Whether a container has a namespace of the kind that is made for it.
pub(crate) fn has_new(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    let mut listed = linux.namespaces().iter().flatten();
    listed.any(|namespace| namespace.typ() == kind && is_new(namespace))
}

/// Flags of every kind that is not the caller's own: new or joined.
pub(crate) fn kinds(linux: &Linux) -> i32 {
    let listed = linux.namespaces().iter().flatten();
    listed.fold(0, |all, namespace| all | flag(namespace.typ()))
}

#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Flags of the kinds to be made new.
    pub(crate) new: i32,
    /// As of [`kinds`].
    pub(crate) all: i32,
    /// Flags of the kinds whose path leads to the caller's own: what is set there, is set for the
    /// host.
    shared: i32,
    /// The user and pid namespaces to join, for whoever clones, so that what it clones then
    /// belongs to them. The user namespace comes last: joining it gives up the privilege over
    /// the other.
    pub(crate) parent_joins: Vec<(i32, OwnedFd)>,
    /// The others, for the child, but for the mount namespace.
    pub(crate) child_joins: Vec<(i32, OwnedFd)>,
    /// The mount namespace that the container's processes are in, if it is not their own: the
    /// one to join, or the caller's.
    pub(crate) mounts: Option<OwnedFd>,
}

impl Namespaces {
    /// None at all.
    pub(crate) fn none() -> Namespaces {
        Namespaces {
            new: 0,
            all: 0,
            shared: 0,
            parent_joins: Vec::new(),
            child_joins: Vec::new(),
            mounts: None,
        }
    }

    pub(crate) fn open(linux: &Linux) -> Result<Namespaces> {
        let mut result = Namespaces::none();
        result.all = kinds(linux);
        for namespace in linux.namespaces().iter().flatten() {
            let flag = flag(namespace.typ());
            match namespace.path().as_deref().filter(|_| !is_new(namespace)) {
                None => result.new |= flag,
                Some(path) => {
                    // A FIFO would have us wait for who writes to it.
                    let opened = OpenOptions::new()
                        .read(true)
                        .custom_flags(NONBLOCK)
                        .open(path);
                    let file = opened.with_context(|| {
                        format!("{} namespace {}", namespace.typ(), path.display())
                    })?;
                    if is_ours(&file, flag) {
                        result.shared |= flag;
                    }
                    match flag {
                        USER => result.parent_joins.push((flag, file.into())),
                        PID => result.parent_joins.insert(0, (flag, file.into())),
                        MOUNT => result.mounts = Some(file.into()),
                        _ => result.child_joins.push((flag, file.into())),
                    }
                }
            }
        }
        if result.all & MOUNT == 0 {
            const OURS: &str = "/proc/self/ns/mnt";
            result.mounts = Some(File::open(OURS).context(OURS)?.into());
        }
        Ok(result)
    }

    /// Flags of the kinds that are the container's to change.
    pub(crate) fn owned(&self) -> i32 {
        self.all & !self.shared
    }

    pub(crate) fn is_new(&self, flag: i32) -> bool {
        self.new & flag != 0
    }

    /// What clone3 makes. Not the cgroup namespace: its root is the cgroup of whoever makes
    /// it, so the child unshares it once it is in its cgroup. Nor the time namespace: whoever
    /// is made in it finds its offsets settled. A mount namespace in any case: the root is built
    /// in one of its own, wherever the process goes then.
    pub(crate) fn clone_flags(&self) -> u64 {
        u64::from((self.new & !(CGROUP | TIME) | MOUNT) as u32)
    }

    /// Takes what has to be joined before the clone. Who has no power outside has it only once
    /// in the user namespace, so that one comes first.
    pub(crate) fn take_parent_joins(&mut self, standing: Standing) -> Vec<(i32, OwnedFd)> {
        let mut joins = std::mem::take(&mut self.parent_joins);
        if standing == Standing::User {
            joins.reverse();
        }
        joins
    }

    pub(crate) fn join_in_child(&self) -> Result<()> {
        join(&self.child_joins)
    }
}

/// Whether it is the namespace that this process is in.
fn is_ours(file: &File, flag: i32) -> bool {
    let link = match flag {
        NETWORK => "net",
        MOUNT => "mnt",
        other => name(other),
    };
    let ours = rustix::fs::stat(format!("/proc/self/ns/{link}"));
    let theirs = rustix::fs::fstat(file);
    ours.is_ok_and(|ours| {
        theirs.is_ok_and(|theirs| (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
    })
}

pub(crate) fn join(namespaces: &[(i32, OwnedFd)]) -> Result<()> {
    namespaces
        .iter()
        .try_for_each(|(flag, fd)| join_one(fd, *flag))
}

fn join_one(fd: &OwnedFd, flag: i32) -> Result<()> {
    let name = name(flag);
    orlop_sys::namespace::join(fd, flag).map_err(|errno| match errno {
        Errno::INVAL if flag == USER => {
            anyhow!("join the user namespace: its path names no such, or the one we are in")
        }
        Errno::INVAL => anyhow!("join the {name} namespace: its path names none of this kind"),
        errno => anyhow::Error::from(errno).context(format!("join the {name} namespace")),
    })
}

fn name(flag: i32) -> &'static str {
    match flag {
        CGROUP => "cgroup",
        IPC => "ipc",
        MOUNT => "mount",
        NETWORK => "network",
        PID => "pid",
        TIME => "time",
        USER => "user",
        _ if flag == USER | PID => "user and pid",
        UTS => "uts",
        _ => "unknown",
    }
}

/// OCI mappings as the system call layer takes them.
pub(crate) fn ranges(mappings: Option<&Vec<LinuxIdMapping>>) -> Vec<IdRange> {
    mappings
        .into_iter()
        .flatten()
        .map(|map| IdRange {
            inside: map.container_id(),
            outside: map.host_id(),
            count: map.size(),
        })
        .collect()
}

/// The id outside that `inside` maps to.
pub(crate) fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside)?;
        (offset < range.count)
            .then(|| range.outside.checked_add(offset))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outside() {
        let ranges = [
            IdRange {
                inside: 0,
                outside: 100_000,
                count: 10,
            },
            IdRange {
                inside: 20,
                outside: u32::MAX,
                count: 5,
            },
        ];
        for (inside, expected) in [
            (0, Some(100_000)),
            (9, Some(100_009)),
            (10, None),
            (20, Some(u32::MAX)),
            (21, None),
        ] {
            assert_eq!(outside(&ranges, inside), expected, "{inside}");
        }
    }
}
