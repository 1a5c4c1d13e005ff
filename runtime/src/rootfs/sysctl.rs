//! `linux.sysctl`: only what belongs to the container's own namespaces, only on a procfs that
//! nobody else can have prepared.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Linux;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::namespaces::libc_flags::{IPC, NETWORK};

pub(super) fn apply(linux: &Linux, namespaces: i32) -> Result<()> {
    let Some(sysctls) = linux.sysctl().as_ref().filter(|map| !map.is_empty()) else {
        return Ok(());
    };
    let fs = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let proc = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .context("a private procfs")?;
    for (key, value) in sysctls {
        let path = PathBuf::from("sys").join(file(key, namespaces)?);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat2(&proc, &path, flags, Mode::empty(), resolve)
            .and_then(|file| rustix::io::write(file, value.as_bytes()))
            .with_context(|| format!("sysctl {key} = {value:?}"))?;
    }
    Ok(())
}

/// The file of a sysctl that is the container's own to set.
pub(super) fn file(key: &str, namespaces: i32) -> Result<String> {
    let path = key.replace('.', "/");
    let ipc = path.starts_with("fs/mqueue/")
        || matches!(
            path.as_str(),
            "kernel/msgmax"
                | "kernel/msgmnb"
                | "kernel/msgmni"
                | "kernel/sem"
                | "kernel/shmall"
                | "kernel/shmmax"
                | "kernel/shmmni"
                | "kernel/shm_rmid_forced"
        );
    let needed = if path.starts_with("net/") {
        NETWORK
    } else if ipc {
        IPC
    } else {
        bail!("sysctl {key}: belongs to the whole machine, not to a container");
    };
    ensure!(
        !path.split('/').any(|part| part == ".." || part.is_empty()),
        "sysctl {key}: malformed"
    );
    let kind = if needed == NETWORK { "network" } else { "ipc" };
    ensure!(
        namespaces & needed != 0,
        "sysctl {key}: the container has no {kind} namespace of its own"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_container_owns() {
        let both = IPC | NETWORK;
        for (key, namespaces, expected) in [
            ("net.ipv4.ip_forward", both, "ok"),
            ("net.ipv4.ip_forward", IPC, "no network namespace"),
            ("kernel.shmmax", both, "ok"),
            ("kernel.shmmax", NETWORK, "no ipc namespace"),
            ("kernel.panic", both, "whole machine"),
            ("kernel.hostname", both, "whole machine"),
            ("vm.swappiness", both, "whole machine"),
            ("net...etc", both, "malformed"),
        ] {
            let got = file(key, namespaces);
            let got = got.map_or_else(|error| error.to_string(), |_| "ok".into());
            assert!(got.contains(expected), "{key}: {got}");
        }
    }
}
