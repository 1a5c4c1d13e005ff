//! The container's root: what the parent opens on the host, what the child builds from it.
//!
//! `prepare` runs with the caller's privileges, before the child exists, and turns every host
//! path into a descriptor. `enter` runs in the child's namespaces and touches the host no
//! more. `path` is the one place that resolves a path inside a root.

mod copyup;
mod dev;
mod device;
mod enter;
mod filesystem;
mod host_device;
mod mask;
mod options;
pub(crate) mod path;
mod prepare;
mod sysctl;

use std::os::fd::OwnedFd;

pub(crate) use enter::{Layout, bind_fd, enter};
pub(crate) use options::known as knows_mount_option;
pub(crate) use prepare::{Prepared, Shown, prepare};

/// Makes a directory that nothing else has to lead to the root of this process.
pub(crate) fn change_root(to: &OwnedFd) -> anyhow::Result<()> {
    use anyhow::Context;
    rustix::process::fchdir(to)
        .and_then(|()| rustix::process::chroot(c"."))
        .and_then(|()| rustix::process::chdir(c"/"))
        .context("change to the container's root")
}

/// What would be worked out of a configuration, without anything of the host.
#[cfg(test)]
pub(crate) fn consider(bundle: &crate::config::Bundle) {
    let all = crate::namespaces::libc_flags::IPC | crate::namespaces::libc_flags::NETWORK;
    for key in bundle.linux.sysctl().iter().flat_map(|map| map.keys()) {
        let _ = sysctl::file(key, all);
    }
    for mount in &bundle.mounts {
        let words = mount.options().iter().flatten().map(String::as_str);
        let _ = options::Options::parse(words);
        let kind = mount.typ().as_deref().unwrap_or_default();
        let _ = prepare::check_destination(mount.destination(), kind);
    }
}
