//! What the kernel lets this process do, decided in one place.
//!
//! ```text
//! Root           of the machine: everything, and what fails is an error
//! NamespaceRoot  root of a user namespace that owns our mount namespace too, as podman starts
//!                us for an ordinary user: mounts, but neither device nodes nor programs for
//!                the devices of a cgroup
//! User           anyone else: nothing at all but inside of a user namespace that we make, so
//!                the container's process opens the host's files itself, once it is in there
//! ```
//!
//! Who has less power asks for less, never the other way round: no step of root's is skipped
//! because it failed.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use orlop_sys::idmap::IdRange;
use orlop_sys::namespace::owner;
use rustix::thread::CapabilitySet;

use crate::config::Bundle;
use crate::namespaces::{Namespaces, libc_flags};

/// The inode of the first user namespace, the same on every machine (linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The directory for state, in `/run` or the user's directory like it.
const STATE: &str = "orlop-runtime";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Root,
    NamespaceRoot,
    User,
}

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// The user namespace is the machine's first.
    first: bool,
    /// The effective user is 0.
    root: bool,
    /// CAP_SYS_ADMIN is effective.
    admin: bool,
    /// The user namespace owns the mount namespace.
    mounts: bool,
}

impl Standing {
    fn of(facts: Facts) -> Standing {
        match facts {
            Facts {
                first: true,
                root,
                admin,
                ..
            } if root || admin => Standing::Root,
            Facts {
                first: false,
                admin: true,
                mounts: true,
                ..
            } => Standing::NamespaceRoot,
            Facts { .. } => Standing::User,
        }
    }

    /// That of this process.
    pub(crate) fn here() -> Result<Standing> {
        let user = inode("/proc/self/ns/user")?;
        let first = user == FIRST_USER_NAMESPACE;
        let root = rustix::process::geteuid().is_root();
        if first && root {
            return Ok(Standing::Root);
        }
        Ok(Standing::of(Facts {
            first,
            root,
            admin: holds(CapabilitySet::SYS_ADMIN)?,
            mounts: owner_of_mounts()? == Some(user),
        }))
    }

    /// Whether device nodes can be made; else the host's are bound.
    pub(crate) fn makes_nodes(self) -> bool {
        self == Standing::Root
    }

    /// Whether a cgroup can be given a program that decides on devices. Who cannot has made no
    /// device node either: a container has the devices that were bound, and no way to others.
    pub(crate) fn limits_devices(self) -> bool {
        self == Standing::Root
    }

    /// Whether cgroups are ours wherever they are; else only where they were given to us.
    pub(crate) fn owns_cgroups(self) -> bool {
        self == Standing::Root
    }

    /// Whether the mounts that we see can be cloned; else only whoever is in the container's
    /// own namespaces can.
    pub(crate) fn clones_mounts(self) -> bool {
        self != Standing::User
    }

    /// Whether we have power over a process that hides from all who have none.
    pub(crate) fn reaches_hidden(self) -> bool {
        self != Standing::User
    }

    /// Refuses, by name, what cannot be done for a container like this.
    pub(crate) fn check(self, bundle: &Bundle, namespaces: &Namespaces) -> Result<()> {
        if self != Standing::User {
            return Ok(());
        }
        ensure!(
            namespaces.all & libc_flags::USER != 0,
            "linux.namespaces: who is not root needs a user namespace for a container (`spec \
             --rootless` writes a config.json that has one)"
        );
        ensure!(
            bundle
                .linux
                .time_offsets()
                .as_ref()
                .is_none_or(|offsets| offsets.is_empty()),
            "linux.timeOffsets: only root can set them"
        );
        let mapped = |mount: &oci_spec::runtime::Mount| {
            let words = mount.options().iter().flatten();
            let mut words = words.map(String::as_str);
            mount.uid_mappings().is_some() || words.any(|word| matches!(word, "idmap" | "ridmap"))
        };
        for (index, mount) in bundle.mounts.iter().enumerate() {
            ensure!(
                !mapped(mount),
                "mounts[{index}]: only root can map the ids of a mount (on {})",
                mount.destination().display()
            );
        }
        Ok(())
    }
}

/// Who writes the ids of a new user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapBy {
    /// We do, having the power over these ids.
    Power,
    /// We do: it is our own id alone, which everybody may map.
    Own,
    /// A program that checks whose the ids are: newuidmap or newgidmap.
    Helper,
}

impl MapBy {
    fn of(ranges: &[IdRange], own: u32, power: bool) -> MapBy {
        match ranges {
            _ if power => MapBy::Power,
            [
                IdRange {
                    outside, count: 1, ..
                },
            ] if *outside == own => MapBy::Own,
            _ => MapBy::Helper,
        }
    }

    pub(crate) fn users(ranges: &[IdRange]) -> Result<MapBy> {
        let own = rustix::process::geteuid().as_raw();
        Ok(MapBy::of(ranges, own, holds(CapabilitySet::SETUID)?))
    }

    pub(crate) fn groups(ranges: &[IdRange]) -> Result<MapBy> {
        let own = rustix::process::getegid().as_raw();
        Ok(MapBy::of(ranges, own, holds(CapabilitySet::SETGID)?))
    }
}

/// Where the state of containers is unless the command line says.
pub(crate) fn state_directory() -> Result<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    let user = (Standing::here()? != Standing::Root)
        .then(|| std::env::var_os("XDG_RUNTIME_DIR"))
        .flatten();
    choose_state_directory(root, user.as_deref())
}

/// `user`: the directory of whoever is not the machine's root.
fn choose_state_directory(root: bool, user: Option<&OsStr>) -> Result<PathBuf> {
    match user.map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => Ok(path.join(STATE)),
        None if root => Ok(PathBuf::from("/run").join(STATE)),
        None => anyhow::bail!(
            "no place for the state of containers: set XDG_RUNTIME_DIR to a directory of your \
             own, or name one with --root"
        ),
    }
}

/// A program that is found by the caller's PATH.
pub(crate) fn find_program(name: &str, path: Option<OsString>) -> Option<PathBuf> {
    let path = path.unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

fn holds(capability: CapabilitySet) -> Result<bool> {
    let sets = rustix::thread::capabilities(None).context("our own capabilities")?;
    Ok(sets.effective.contains(capability))
}

fn inode(path: &str) -> Result<u64> {
    Ok(rustix::fs::stat(path).context(path.to_owned())?.st_ino)
}

/// `None`: one that we have no power in.
fn owner_of_mounts() -> Result<Option<u64>> {
    const MOUNTS: &str = "/proc/self/ns/mnt";
    let file = std::fs::File::open(MOUNTS).context(MOUNTS)?;
    match owner(file.as_fd()) {
        Ok(owner) => Ok(Some(rustix::fs::fstat(owner)?.st_ino)),
        Err(rustix::io::Errno::PERM) => Ok(None),
        Err(errno) => Err(anyhow::Error::from(errno).context("whose our mounts are")),
    }
}

#[cfg(test)]
mod tests;
