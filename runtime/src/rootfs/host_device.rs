//! Devices of the host, for who cannot make nodes: bound where they are asked for, each one
//! checked to be the device that it is taken for. What is bound keeps the host's mode and
//! owner; a mode that a configuration asks for is for a node that could be made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::LinuxDevice;
use orlop_sys::mount::{attach, clone_tree};
use rustix::fs::{CWD, Dev, FileType, makedev};

use super::dev::{NODES, node};
use super::path::{Kind, make};

/// A detached clone of a node of the host's, and where it goes.
#[derive(Debug)]
pub(crate) struct HostDevice {
    path: PathBuf,
    pub(super) tree: OwnedFd,
}

impl HostDevice {
    fn open(path: &Path, kind: FileType, device: Dev) -> Result<HostDevice> {
        let tree = clone(path, kind, device).with_context(|| {
            format!(
                "{} (device nodes are the host's own here: only root can make any)",
                path.display()
            )
        })?;
        let path = path.to_owned();
        Ok(HostDevice { path, tree })
    }

    /// Puts it where it goes in the root, whose /dev is in place.
    pub(super) fn attach(&self, root: &OwnedFd) -> Result<()> {
        let target = make(root.as_fd(), &self.path, Kind::File)?;
        attach(&self.tree, &target).with_context(|| format!("bind {}", self.path.display()))
    }
}

/// The usual six.
pub(super) fn usual() -> Result<Vec<HostDevice>> {
    let open = |(name, major, minor)| {
        let path = Path::new("/dev").join(name);
        HostDevice::open(&path, FileType::CharacterDevice, makedev(major, minor))
    };
    NODES.into_iter().map(open).collect()
}

/// Adds what `linux.devices` asks for to `bound`; returns what of it can be made all the same.
pub(super) fn open_all(
    asked: &[LinuxDevice],
    bound: &mut Vec<HostDevice>,
) -> Result<Vec<LinuxDevice>> {
    let mut made = Vec::new();
    for device in asked {
        let (kind, numbers) = node(device)?;
        if kind == FileType::Fifo {
            made.push(device.clone());
            continue;
        }
        let path = device.path();
        ensure!(
            path.is_absolute() && path.file_name().is_some(),
            "{}: names no file",
            path.display()
        );
        // It may be one of the six, which then is there already.
        bound.retain(|other| other.path != *path);
        bound.push(HostDevice::open(path, kind, numbers)?);
    }
    Ok(made)
}

/// /dev/null, checked to be it.
pub(super) fn null() -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    clone(path, FileType::CharacterDevice, makedev(1, 3)).context("/dev/null on the host")
}

fn clone(path: &Path, kind: FileType, device: Dev) -> Result<OwnedFd> {
    let tree = clone_tree(CWD, path, false)?;
    let stat = rustix::fs::fstat(&tree)?;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let name = if kind == FileType::BlockDevice {
        "block"
    } else {
        "character"
    };
    ensure!(
        FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == device,
        "is not the {name} device {major}:{minor}"
    );
    Ok(tree)
}
