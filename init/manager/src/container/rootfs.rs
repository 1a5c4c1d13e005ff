//! A container's root: the image's tree seen through the container's ids,
//! with what the container writes on top of it.
//!
//! The image's directory is cloned, id-mapped and attached (a detached
//! id-mapped lower is refused), and becomes the lower of an overlay. Below it
//! lies a skeleton with the mount points that an image may lack: whatever the
//! image has hides it. The upper is a plain directory with host ids; a
//! read-only root has none.

use std::io::{Error, Result};
use std::os::fd::OwnedFd;
use std::path::Path;

use orlop_sys::idmap::{IdRange, open_tree_idmapped, userns_fd};
use orlop_sys::mount::{Attributes, attach, clone_tree, set_attributes};
use orlop_sys::overlay::overlay_mount;
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use super::ids;

/// A user namespace that says how ids are mapped; no process runs in it.
#[derive(Debug)]
pub struct IdMap(OwnedFd);

impl IdMap {
    /// The ids from 0 on are those from `base` on.
    pub fn new(base: u32) -> Result<IdMap> {
        let range = IdRange {
            inside: 0,
            outside: base,
            count: ids::COUNT,
        };
        Ok(IdMap(userns_fd(&[range], &[range])?))
    }
}

fn context(what: &str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Error {
    let what = format!("cannot {what} {}", path.display());
    move |errno| Error::new(Error::from(errno).kind(), format!("{what}: {errno}"))
}

fn target(path: &Path) -> Result<OwnedFd> {
    std::fs::create_dir_all(path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Mounts the root at `<dir>/rootfs`. `upper` is the unit's directory for what
/// it writes, or `None` for a read-only root. `missing` are paths to have as
/// mount points even if the image lacks them; `true` for directories.
pub fn mount(
    dir: &Path,
    image: &Path,
    map: &IdMap,
    base: u32,
    upper: Option<&Path>,
    missing: &[(String, bool)],
) -> Result<()> {
    let (lower, skeleton, root) = (dir.join("lower"), dir.join("skeleton"), dir.join("rootfs"));
    make_skeleton(&skeleton, missing, base)?;
    let tree = open_tree_idmapped(image, &map.0).map_err(context("id-map the image", image))?;
    attach(&tree, target(&lower)?).map_err(context("attach", &lower))?;
    let directories = match upper {
        Some(upper) => Some(make_upper(upper, base)?),
        None => None,
    };
    let pair = directories
        .as_ref()
        .map(|(upper, work)| (upper.as_path(), work.as_path()));
    let flags = match upper {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let overlay = overlay_mount(&[&lower, &skeleton], pair, flags)
        .map_err(context("mount the overlay for", &root));
    let attached = overlay
        .and_then(|overlay| attach(&overlay, target(&root)?).map_err(context("attach", &root)));
    // The overlay holds the clone by itself.
    let _ = unmount(&lower, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    attached
}

fn make_upper(dir: &Path, base: u32) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    for path in [&upper, &work] {
        std::fs::create_dir_all(path)?;
        std::os::unix::fs::chown(path, Some(base), Some(base))?;
    }
    Ok((upper, work))
}

fn make_skeleton(skeleton: &Path, missing: &[(String, bool)], base: u32) -> Result<()> {
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(base), Some(base));
    std::fs::create_dir_all(skeleton)?;
    own(skeleton)?;
    for (path, directory) in missing {
        let mut place = skeleton.to_owned();
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            place.push(part);
            if place.symlink_metadata().is_ok() {
                continue;
            }
            if parts.peek().is_some() || *directory {
                std::fs::create_dir(&place)?;
            } else {
                std::fs::write(&place, [])?;
            }
            own(&place)?;
        }
    }
    Ok(())
}

/// Mounts a volume's directory or file at `at`, through the container's ids
/// where its file system can do that.
pub fn bind(source: &Path, at: &Path, map: &IdMap, read_only: bool) -> Result<()> {
    let is_dir = std::fs::metadata(source)
        .map_err(|error| {
            Error::new(
                error.kind(),
                format!("volume {}: {error}", source.display()),
            )
        })?
        .is_dir();
    let tree = match open_tree_idmapped(source, &map.0) {
        Ok(tree) => tree,
        // tmpfs and the like have no id-mapped mounts on Linux 6.1: their
        // files keep the host's ids.
        Err(rustix::io::Errno::INVAL) => {
            clone_tree(CWD, source, true).map_err(context("bind", source))?
        }
        Err(errno) => return Err(context("id-map", source)(errno)),
    };
    if read_only {
        let attributes = Attributes {
            set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
            ..Attributes::default()
        };
        set_attributes(&tree, c"", true, attributes).map_err(context("make read-only", source))?;
    }
    let place = if is_dir {
        target(at)?
    } else {
        std::fs::write(at, [])?;
        open(at, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?
    };
    attach(&tree, place).map_err(context("attach", at))
}

/// Unmounts all that is mounted below `dir`, the last first.
pub fn unmount_below(dir: &Path) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|point| Path::new(point).starts_with(dir))
        .collect();
    points.reverse();
    for point in points {
        match unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(context("unmount", Path::new(&point))(errno)),
        }
    }
    Ok(())
}

/// Mount points in mountinfo have octal escapes.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}
