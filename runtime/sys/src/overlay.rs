//! An overlay file system by fsopen(2), on a descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

/// A detached overlay of `lowers` (the topmost first), writable when `upper` and `work` are
/// given. Attach it with [`crate::mount::attach`].
///
/// Paths are looked up in the caller's mount namespace. What Linux 6.1 asks for: an id-mapped
/// lower must be an attached mount; the upper must not be id-mapped, or the overlay comes up
/// read-only without an error: hence the check that it is writable.
///
/// # Errors
/// EROFS when an upper was given and the overlay is read-only all the same; ENAMETOOLONG
/// when the lowers' paths are longer than the kernel takes (255 bytes together, including
/// a backslash before each comma and colon); EINVAL for an unsuitable directory.
pub fn overlay_mount(
    lowers: &[&Path],
    upper: Option<(&Path, &Path)>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let lower: Vec<Vec<u8>> = lowers.iter().map(|path| escape(path, b":\\")).collect();
    let lower = lower.join(&b':');
    if lower.len() > 255 {
        return Err(Errno::NAMETOOLONG);
    }
    fsconfig_set_string(&fs, c"lowerdir", lower)?;
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, c"upperdir", escape(upper, b"\\"))?;
        fsconfig_set_string(&fs, c"workdir", escape(work, b"\\"))?;
    }
    fsconfig_create(&fs)?;
    let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    if upper.is_some() && !attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
        let flags = rustix::fs::fstatvfs(&mount)?.f_flag;
        if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return Err(Errno::ROFS);
        }
    }
    Ok(mount)
}

/// `path` with a backslash before each byte of `special`.
fn escape(path: &Path, special: &[u8]) -> Vec<u8> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}
