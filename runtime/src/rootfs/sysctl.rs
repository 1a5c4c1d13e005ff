//! `linux.sysctl`: only what belongs to the container's own namespaces, only on a procfs that
//! nobody else can have prepared.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Linux;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::namespaces::libc_flags::{IPC, NETWORK, UTS};

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
    let path = path(key);
    let (needed, kind) = namespace(&path).with_context(|| {
        format!("sysctl {key}: belongs to the whole machine, not to a container")
    })?;
    ensure!(
        !path.split('/').any(|part| part == ".." || part.is_empty()),
        "sysctl {key}: malformed"
    );
    ensure!(
        namespaces & needed != 0,
        "sysctl {key}: the container has no {kind} namespace of its own"
    );
    Ok(path)
}

/// Either of '.' and '/' separates, whichever comes first, and the other is a '.' in a name, as
/// of the interface eth0.100 (sysctl.d(5)).
fn path(key: &str) -> String {
    match key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)) {
        Some(b'.') => {
            let turned = key.chars().map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            });
            turned.collect()
        }
        Some(_) | None => key.to_owned(),
    }
}

/// Whose it is, and what that is called.
fn namespace(path: &str) -> Option<(i32, &'static str)> {
    match path {
        "kernel/msgmax"
        | "kernel/msgmnb"
        | "kernel/msgmni"
        | "kernel/sem"
        | "kernel/shmall"
        | "kernel/shmmax"
        | "kernel/shmmni"
        | "kernel/shm_rmid_forced" => Some((IPC, "ipc")),
        // The host name has a place of its own in the configuration; this has, too, but docker
        // sets it so.
        "kernel/domainname" => Some((UTS, "uts")),
        _ if path.starts_with("fs/mqueue/") => Some((IPC, "ipc")),
        _ if path.starts_with("net/") => Some((NETWORK, "network")),
        _ => None,
    }
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
            ("kernel.domainname", UTS, "ok"),
            ("kernel.domainname", both, "no uts namespace"),
        ] {
            let got = file(key, namespaces);
            let got = got.map_or_else(|error| error.to_string(), |_| "ok".into());
            assert!(got.contains(expected), "{key}: {got}");
        }
    }

    #[test]
    fn separators() {
        for (key, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.100/x", "net/ipv4/conf/eth0.100/x"),
            ("net.ipv4.conf.eth0/100.x", "net/ipv4/conf/eth0.100/x"),
            ("vm", "vm"),
        ] {
            assert_eq!(path(key), expected);
        }
    }
}
