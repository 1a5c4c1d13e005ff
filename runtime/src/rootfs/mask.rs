//! Masked and read-only paths.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use orlop_sys::mount::{Attributes, attach, clone_tree, set_attributes};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::path::{explain, file_type, locate};

/// Covers paths of the container: directories with an empty read-only tmpfs, anything else
/// with the null device.
///
/// One tmpfs and one null serve all of them. The first use attaches the mount itself, each
/// later one a clone of it, since a detached mount cannot be cloned before Linux 6.15.
pub(super) struct Masks<'l> {
    label: Option<&'l str>,
    null: Cover,
    empty: Option<Cover>,
}

struct Cover {
    mount: OwnedFd,
    attached: bool,
}

impl Cover {
    fn put(&mut self, target: &OwnedFd) -> rustix::io::Result<()> {
        if self.attached {
            return attach(clone_tree(&self.mount, c"", false)?, target);
        }
        self.attached = true;
        attach(&self.mount, target)
    }
}

impl<'l> Masks<'l> {
    /// `null` is a detached clone of /dev/null, `label` the SELinux label of empty directories.
    pub(super) fn new(null: OwnedFd, label: Option<&'l str>) -> Masks<'l> {
        Masks {
            label,
            null: Cover {
                mount: null,
                attached: false,
            },
            empty: None,
        }
    }

    /// A path that does not exist needs no mask.
    pub(super) fn mask(&mut self, root: impl AsFd, path: &str) -> Result<()> {
        let Some(target) = existing(root, path)? else {
            return Ok(());
        };
        let put = if file_type(&target)? == FileType::Directory {
            if self.empty.is_none() {
                self.empty = Some(Cover {
                    mount: empty_directory(self.label)?,
                    attached: false,
                });
            }
            self.empty
                .as_mut()
                .map_or(Ok(()), |cover| cover.put(&target))
        } else {
            self.null.put(&target)
        };
        put.with_context(|| format!("mask {path}"))
    }
}

/// Makes `path` and everything mounted below it read-only. Other attributes stay.
pub(super) fn read_only(root: impl AsFd, path: &str) -> Result<()> {
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let attributes = Attributes {
        set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
        ..Attributes::default()
    };
    clone_tree(&target, c"", true)
        .and_then(|tree| {
            set_attributes(&tree, c"", true, attributes)?;
            attach(&tree, &target)
        })
        .with_context(|| format!("make {path} read-only"))
}

fn existing(root: impl AsFd, path: &str) -> Result<Option<OwnedFd>> {
    match locate(root, Path::new(path)) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(explain(errno, Path::new(path))),
    }
}

fn empty_directory(label: Option<&str>) -> Result<OwnedFd> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, c"nr_blocks", c"1")?;
    fsconfig_set_string(&fs, c"nr_inodes", c"1")?;
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        fsconfig_set_string(&fs, c"context", label)?;
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
