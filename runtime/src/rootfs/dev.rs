//! /dev: one tmpfs with the usual six nodes, made whole by the parent.
//!
//! In a user namespace nodes cannot be made, and those of a file system mounted there do not
//! work. This tmpfs is mounted by the parent, so its nodes do; its inodes belong to the
//! container's root, so it looks like any /dev. That is one mount instead of seven. Who is not
//! the machine's root makes no nodes, and binds the host's: see `host_device`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use orlop_sys::idmap::IdRange;
use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::filesystem::set_data;
use super::options::Options;
use super::path::{Kind, make as make_in};
use crate::namespaces::{outside, ranges};
use crate::standing::Standing;

/// Name, major, minor (Documentation/admin-guide/devices.txt).
pub(crate) const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Ids of the container as they are outside.
pub(crate) struct Owner {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

impl Owner {
    /// As whoever makes /dev sees them: for the container's own process ids are what they are.
    pub(crate) fn of_container(linux: &Linux, standing: Standing) -> Owner {
        if !standing.clones_mounts() {
            return Owner {
                uids: Vec::new(),
                gids: Vec::new(),
            };
        }
        Owner {
            uids: ranges(linux.uid_mappings().as_ref()),
            gids: ranges(linux.gid_mappings().as_ref()),
        }
    }

    pub(super) fn ids(&self, uid: u32, gid: u32) -> Result<(Uid, Gid)> {
        let map = |ranges: &[IdRange], id, what| match ranges {
            [] => Ok(id),
            ranges => outside(ranges, id)
                .with_context(|| format!("{what} {id} is not mapped in the container")),
        };
        Ok((
            Uid::from_raw(map(&self.uids, uid, "uid")?),
            Gid::from_raw(map(&self.gids, gid, "gid")?),
        ))
    }
}

/// A detached tmpfs with links, these devices, and if it shall have `nodes` the usual six.
pub(crate) fn make(
    options: &Options,
    nodes: bool,
    devices: &[LinuxDevice],
    owner: &Owner,
) -> Result<OwnedFd> {
    // Nodes get the modes they are asked for. Nothing else may be made under this umask.
    let umask = rustix::process::umask(Mode::empty());
    let made = make_unmasked(options, nodes, devices, owner);
    rustix::process::umask(umask);
    made
}

fn make_unmasked(
    options: &Options,
    nodes: bool,
    devices: &[LinuxDevice],
    owner: &Owner,
) -> Result<OwnedFd> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, c"source", c"tmpfs")?;
    set_data(&fs, "tmpfs", options)?;
    fsconfig_create(&fs)?;
    // Read-only comes at the end, if asked for; nodev would make the nodes useless.
    let keep = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let attributes = MountAttrFlags::from_bits_truncate(options.set as u32) & keep;
    let tree = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let (uid, gid) = owner.ids(0, 0)?;
    chownat(&tree, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH).with_context(|| {
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        format!("give it to the container's root, {uid}:{gid} here (are these ids mapped here?)")
    })?;
    for (name, major, minor) in NODES.into_iter().filter(|_| nodes) {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            &tree,
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .with_context(|| format!("node {name}"))?;
        chownat(&tree, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &tree, name)?;
        chownat(&tree, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    for device in devices {
        add(&tree, device, owner).with_context(|| device.path().display().to_string())?;
    }
    Ok(tree)
}

/// Adds a node of `linux.devices`; one of the usual six is replaced, so that its mode and
/// owner can be chosen.
fn add(tree: &OwnedFd, device: &LinuxDevice, owner: &Owner) -> Result<()> {
    let below = device.path().strip_prefix("/dev");
    let below = below.map_err(|_| anyhow::anyhow!("a device node outside /dev"))?;
    let name = below.file_name().context("names no file")?;
    let parent = below.parent().unwrap_or(Path::new(""));
    let dir = directory(tree, parent, owner)?;
    let (kind, dev) = node(device)?;
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777);
    mknodat(&dir, name, kind, mode, dev)?;
    let (uid, gid) = owner.ids(device.uid().unwrap_or(0), device.gid().unwrap_or(0))?;
    chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// What node a device is: its kind and its numbers.
pub(super) fn node(device: &LinuxDevice) -> Result<(FileType, Dev)> {
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => anyhow::bail!("type \"a\" is not a kind of node"),
    };
    let number = |value: i64| u32::try_from(value).context("a device number out of range");
    let numbers = makedev(number(device.major())?, number(device.minor())?);
    Ok((kind, numbers))
}

/// Opens a directory, and makes what is missing of it, as the container's root's.
fn directory(tree: &OwnedFd, path: &Path, owner: &Owner) -> Result<OwnedFd> {
    let (uid, gid) = owner.ids(0, 0)?;
    let root = Path::new("/");
    let mut at = root.to_owned();
    let mut opened = make_in(tree.as_fd(), root, Kind::Directory)?;
    for part in path {
        at.push(part);
        opened = make_in(tree.as_fd(), &at, Kind::Directory)?;
        chownat(&opened, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(opened)
}
