//! File systems that the child makes, so that its namespaces own them, and mounts of the
//! container that an entry changes (`remount`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use orlop_sys::mount::{Attributes, set_attributes};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::copyup;
use super::options::Options;

/// What a new tmpfs takes from the directory that it covers.
pub(super) struct Covered<'d> {
    pub(super) directory: &'d OwnedFd,
    /// Whether the image has it; else it was made a moment ago.
    pub(super) existed: bool,
}

/// A new file system, ready to be attached.
pub(super) fn make(
    name: &str,
    source: &Path,
    options: &Options,
    covered: &Covered<'_>,
) -> Result<OwnedFd> {
    let denied = |errno| denied(name, errno);
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(denied)
        .with_context(|| format!("file system {name:?}"))?;
    fsconfig_set_string(&fs, c"source", source).context("source")?;
    if name == "tmpfs" && covered.existed {
        take_owner(&fs, options, covered)?;
    }
    set_data(&fs, name, options)?;
    fsconfig_create(&fs)
        .map_err(denied)
        .with_context(|| describe(name, options))?;
    let bits = options.set | options.set_below;
    let mut attributes = MountAttrFlags::from_bits_retain(bits as u32);
    if name == "tmpfs" {
        // Read-only is set at the end: other mounts may need directories in this one. (Not so
        // for proc and sysfs, where a user namespace may have to ask for it from the start.)
        attributes -= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let tree = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(denied)
        .with_context(|| format!("mount a {name} file system"))?;
    if options.copy_up {
        copyup::copy(covered.directory.as_fd(), tree.as_fd()).context("tmpcopyup")?;
    }
    if let Some(label) = &options.root_label {
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(path, "security.selinux", label.as_bytes(), flags)
            .with_context(|| format!("linux.mountLabel {label:?}"))?;
    }
    Ok(tree)
}

/// Some file systems (and with older kernels most) look at their options only now, and do not say
/// which is wrong.
fn describe(name: &str, options: &Options) -> String {
    let words: Vec<_> = options.data.iter().map(spelled).collect();
    let with = if words.is_empty() {
        ""
    } else {
        " with the options "
    };
    format!("create a {name} file system{with}{}", words.join(","))
}

/// An option as it is written, and what may be wrong with it.
fn spelled((key, value): &(String, Option<String>)) -> String {
    match value {
        Some(value) if matches!(key.as_str(), "uid" | "gid") => {
            format!("{key}={value} (is that id mapped?)")
        }
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    }
}

/// What whoever is not the machine's root needs for a file system that he may mount at all.
fn denied(name: &str, errno: Errno) -> anyhow::Error {
    let needs = match (errno, name) {
        (Errno::PERM, "proc") => "a pid namespace of the container's own and nothing over /proc",
        (Errno::PERM, "sysfs") => {
            "a network namespace of the container's own and nothing over /sys"
        }
        (Errno::PERM, "mqueue") => "an ipc namespace of the container's own",
        (Errno::PERM, "cgroup2") => "a cgroup namespace of the container's own",
        _ => return errno.into(),
    };
    anyhow::Error::from(errno).context(format!("without root it takes {needs} here"))
}

/// A tmpfs is as open as the directory it covers, unless the options say otherwise: /run does
/// not become everybody's.
fn take_owner(fs: &OwnedFd, options: &Options, covered: &Covered<'_>) -> Result<()> {
    let stat = rustix::fs::fstat(covered.directory)?;
    let mut defaults = vec![("mode", format!("{:o}", stat.st_mode & 0o7777))];
    if options.copy_up {
        defaults.push(("uid", stat.st_uid.to_string()));
        defaults.push(("gid", stat.st_gid.to_string()));
    }
    for (key, value) in defaults {
        if !options.data.iter().any(|(given, _)| given == key) {
            fsconfig_set_string(fs, key, value.as_str())
                .with_context(|| format!("tmpfs does not take the option {key}={value}"))?;
        }
    }
    Ok(())
}

pub(super) fn set_data(fs: &OwnedFd, name: &str, options: &Options) -> Result<()> {
    for option in &options.data {
        let set = match option {
            (key, Some(value)) => fsconfig_set_string(fs, key.as_str(), value.as_str()),
            (key, None) => fsconfig_set_flag(fs, key.as_str()),
        };
        set.with_context(|| format!("{name} does not take the option {}", spelled(option)))?;
    }
    Ok(())
}

/// Changes the mount that `target` is the root of: its attributes, and with options for the
/// file system that too.
pub(super) fn remount(target: &OwnedFd, options: &Options) -> Result<()> {
    if !options.data.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let fs = fspick(target, c"", flags).context("remount: nothing is mounted here")?;
        set_data(&fs, "remount: the file system", options)?;
        fsconfig_reconfigure(&fs).context("remount: the file system does not change so")?;
    }
    for (set, clear, recursive) in [
        (options.set_below, options.clear_below, true),
        (options.set, options.clear, false),
    ] {
        if set | clear != 0 {
            let attributes = Attributes {
                set,
                clear,
                ..Attributes::default()
            };
            set_attributes(target, c"", recursive, attributes)
                .context("remount: nothing is mounted here, or the attributes are locked")?;
        }
    }
    Ok(())
}
