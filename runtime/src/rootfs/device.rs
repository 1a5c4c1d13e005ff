//! Devices of `linux.devices` that are not for a /dev of ours: beneath the root, wherever they
//! are asked for, or in a /dev that is a mount of the configuration's own.
//!
//! Nodes are made in the root file system itself, before anything is mounted in it, by whoever
//! may. When everything is in place, each is looked for once more: what a mount covers, or what
//! such a /dev does not have, is an error and not a device that is silently missing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Mode, chownat, mknodat, statat};
use rustix::io::Errno;

use super::dev::{Owner, node};
use super::path::{Kind, locate, make};

/// Whether a device goes into /dev.
pub(super) fn is_in_dev(device: &LinuxDevice) -> bool {
    device.path().starts_with("/dev")
}

/// Makes the nodes in the root file system.
pub(super) fn make_all(root: &OwnedFd, devices: &[LinuxDevice], owner: &Owner) -> Result<()> {
    // Nodes get the modes they are asked for.
    let umask = rustix::process::umask(Mode::empty());
    let made = devices
        .iter()
        .try_for_each(|device| make_one(root, device, owner).with_context(|| describe(device)));
    rustix::process::umask(umask);
    made
}

fn make_one(root: &OwnedFd, device: &LinuxDevice, owner: &Owner) -> Result<()> {
    let path = device.path();
    ensure!(path.is_absolute(), "not an absolute path");
    let name = path.file_name().context("names no file")?;
    let directory = directory(root, path.parent().unwrap_or(Path::new("/")), owner)?;
    let (kind, numbers) = node(device)?;
    match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            // Of a container before, in the same root: its mode and owner may be other ones.
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
            }
            _ => bail!("something is there already that is no device"),
        },
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777);
    mknodat(&directory, name, kind, mode, numbers)?;
    let (uid, gid) = owner.ids(device.uid().unwrap_or(0), device.gid().unwrap_or(0))?;
    chownat(
        &directory,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}

/// Opens a directory beneath the root, and makes what is missing of it, as the container's
/// root's.
fn directory(root: &OwnedFd, path: &Path, owner: &Owner) -> Result<OwnedFd> {
    let (uid, gid) = owner.ids(0, 0)?;
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    for part in above {
        if !matches!(locate(root, part), Err(Errno::NOENT)) {
            continue;
        }
        let made = make(root.as_fd(), part, Kind::Directory)?;
        chownat(&made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    make(root.as_fd(), path, Kind::Directory)
}

/// Looks for the devices in the root with all its mounts. `dev_is_ours`: those in /dev were made
/// with it.
pub(super) fn check_all(root: &OwnedFd, devices: &[LinuxDevice], dev_is_ours: bool) -> Result<()> {
    for device in devices {
        if dev_is_ours && is_in_dev(device) {
            continue;
        }
        let (kind, numbers) = node(device).with_context(|| describe(device))?;
        let found = locate(root, device.path()).and_then(rustix::fs::fstat);
        let is_there = found.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == kind
                && (kind == FileType::Fifo || stat.st_rdev == numbers)
        });
        ensure!(
            is_there,
            "{}: is not there: {}",
            describe(device),
            if is_in_dev(device) {
                "/dev is a mount of the configuration's own, and that has no such device"
            } else {
                "one of the mounts covers it"
            }
        );
    }
    Ok(())
}

fn describe(device: &LinuxDevice) -> String {
    let kind = match device.typ() {
        LinuxDeviceType::B => "block device",
        LinuxDeviceType::C | LinuxDeviceType::U => "character device",
        LinuxDeviceType::P => "FIFO",
        LinuxDeviceType::A => "device",
    };
    let (major, minor) = (device.major(), device.minor());
    format!(
        "linux.devices: {kind} {major}:{minor} on {}",
        device.path().display()
    )
}
