//! The child's part: from prepared descriptors to a root of its own.
//!
//! The root tree is put on top of "/" of the new mount namespace, everything else on
//! descriptors inside it, and pivot_root makes it the root. Processes of the container do not
//! exist yet, so what was checked stays as it was.
//!
//! A container that shares somebody's mount namespace has its root built all the same in one
//! that is ours alone, and takes a copy of it along, which no namespace has: nothing is mounted
//! where others would see it, and nothing has to be unmounted. The kernel lets nobody mount
//! anything in such a root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Linux;
use orlop_sys::mount::{
    Attributes, PRIVATE, SHARED, SLAVE, UNBINDABLE, attach, clone_tree, set_attributes,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, StatxFlags, fstatfs, statx};
use rustix::mount::{MountAttrFlags, UnmountFlags};
use rustix::process::{fchdir, pivot_root};

use super::device;
use super::filesystem::{self, Covered};
use super::mask::{Masks, read_only};
use super::options::Options;
use super::path::{Kind, explain, locate, make};
use super::prepare::{Prepared, PreparedMount, Source};
use super::sysctl;
use crate::console::Console;
use crate::namespaces::libc_flags;

/// What `enter` needs of the configuration.
pub(crate) struct Layout<'c> {
    pub(crate) linux: &'c Linux,
    pub(crate) read_only: bool,
    /// Flags of the namespaces that are the container's own.
    pub(crate) namespaces: i32,
    /// The mount namespace to go to, if this is not to be the container's.
    pub(crate) mounts: Option<&'c OwnedFd>,
    /// Where the process starts.
    pub(crate) cwd: &'c Path,
    /// Where the terminal goes, if there is one.
    pub(crate) console: Option<&'c Console>,
    /// Where hooks find the root before it is entered, if that can be reached from here. Those
    /// outside may come here, too, as some do to mount what a device needs.
    pub(crate) shown_at: Option<PathBuf>,
    /// Called when everything is mounted, with the root as the current directory.
    pub(crate) when_built: &'c dyn Fn() -> Result<()>,
}

/// Builds the container's root and makes it the process's.
pub(crate) fn enter(prepared: Prepared, layout: &Layout<'_>) -> Result<()> {
    let linux = layout.linux;
    let propagation = match linux.rootfs_propagation().as_deref() {
        Some("shared" | "rshared" | "slave" | "rslave") => SLAVE,
        _ => PRIVATE,
    };
    let attributes = Attributes {
        propagation,
        ..Attributes::default()
    };
    set_attributes(CWD, c"/", true, attributes).context("make mounts private")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open(c"/", flags, Mode::empty()).context("open the old root")?;
    let own_dev = prepared.has_own_dev();
    let root = prepared.root;
    let shown = layout.shown_at.as_deref();
    let shown = shown.and_then(|at| rustix::fs::open(at, flags, Mode::empty()).ok());
    attach(&root, shown.as_ref().unwrap_or(&old)).context("attach the root file system")?;
    let mut made = Vec::new();
    // Hooks are to find the host's /dev as it is.
    let aside = layout.shown_at.is_none();
    let aside = aside.then(|| Aside::of(&old)).flatten();
    for mount in &prepared.mounts {
        let put = put(&root, mount, aside.as_ref());
        made.push(put.with_context(|| format!("mount on {}", mount.destination.display()))?);
    }
    for device in &prepared.bound {
        device.attach(&root)?;
    }
    let devices = linux.devices().as_deref().unwrap_or_default();
    device::check_all(&root, devices, own_dev)?;
    if let Some(console) = layout.console {
        console.open_in(&root).context("terminal")?;
    }
    // An image need not have it. If it cannot be made, entering it says what is wrong with it.
    let _ = make(root.as_fd(), layout.cwd, Kind::Directory);
    // What hooks add is masked and made read-only with all else.
    fchdir(&root)?;
    (layout.when_built)()?;
    let mut masks = Masks::new(prepared.null, linux.mount_label().as_deref());
    for path in linux.masked_paths().iter().flatten() {
        masks.mask(&root, path)?;
    }
    for path in linux.readonly_paths().iter().flatten() {
        read_only(&root, path)?;
    }
    sysctl::apply(linux, layout.namespaces)?;
    finish_mounts(&prepared.mounts, &made)?;
    if layout.read_only {
        let attributes = Attributes {
            set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
            ..Attributes::default()
        };
        set_attributes(&root, c"", false, attributes).context("make the root read-only")?;
    }
    match layout.mounts {
        None => {
            pivot(&root, &old)?;
            finish_root(linux)
        }
        Some(namespace) => take_along(&root, namespace),
    }
}

/// Goes to another mount namespace, with a copy of the root and all that is mounted in it.
fn take_along(root: &OwnedFd, namespace: &OwnedFd) -> Result<()> {
    let copy = clone_tree(root, c"", true).context("copy the root and its mounts")?;
    orlop_sys::namespace::join(namespace, libc_flags::MOUNT).context("join the mount namespace")?;
    super::change_root(&copy)
}

/// Once its parent is none that would have to share it.
fn finish_root(linux: &Linux) -> Result<()> {
    let words = linux.rootfs_propagation().as_deref();
    for (propagation, recursive) in Options::parse(words).propagation {
        if matches!(propagation, SHARED | UNBINDABLE) {
            let attributes = Attributes {
                propagation,
                ..Attributes::default()
            };
            set_attributes(CWD, c"/", recursive, attributes).context("linux.rootfsPropagation")?;
        }
    }
    Ok(())
}

/// Returns the mount, if it was made here.
fn put(root: &OwnedFd, mount: &PreparedMount, aside: Option<&Aside>) -> Result<Option<OwnedFd>> {
    let kind = match &mount.source {
        Source::Tree { kind, .. } => *kind,
        Source::Dev { .. } | Source::FileSystem { .. } => Kind::Directory,
        Source::Cgroup(path) => bail!("{} was not opened", path.display()),
        Source::Remount => {
            let target = locate(root, &mount.destination);
            let target = target.map_err(|errno| explain(errno, &mount.destination))?;
            filesystem::remount(&target, &mount.options)?;
            return Ok(Some(target));
        }
    };
    let is_tmpfs = matches!(&mount.source, Source::FileSystem { name, .. } if name == "tmpfs");
    let existed = is_tmpfs && locate(root, &mount.destination).is_ok();
    let target = make(root.as_fd(), &mount.destination, kind)?;
    ensure!(
        place(&target)? != place(root)?,
        "leads to the root itself, where it would be covered; name a directory below"
    );
    // What may be mounted below /proc by that name was checked; a link there goes round that.
    ensure!(
        mount.destination.starts_with("/proc") || fstatfs(&target)?.f_type != PROC_SUPER_MAGIC,
        "a link in the image leads to /proc, where only the kernel's own files may be"
    );
    match &mount.source {
        Source::Dev { tree, bound } => {
            let made = put_tree(tree, &target, aside.map(|aside| &aside.directory))?;
            for device in bound {
                device.attach(root)?;
            }
            Ok(made)
        }
        Source::Tree { tree, kind, .. } => {
            ensure!(
                mount.destination != Path::new("/proc")
                    || fstatfs(tree)?.f_type == PROC_SUPER_MAGIC,
                "the source is no proc file system, and only one may be mounted here"
            );
            let aside = aside.map(|aside| match kind {
                Kind::Directory => &aside.directory,
                Kind::File => &aside.file,
            });
            Ok(put_tree(tree, &target, aside)?)
        }
        Source::FileSystem { name, source } => {
            let covered = Covered {
                directory: &target,
                existed,
            };
            let made = filesystem::make(name, source, &mount.options, &covered)?;
            attach(&made, &target)?;
            Ok(Some(made))
        }
        // Done with above.
        Source::Cgroup(_) | Source::Remount => Ok(None),
    }
}

/// Where trees are put aside: on the host's /dev, where they go with the rest of the host's mounts.
struct Aside {
    directory: OwnedFd,
    file: OwnedFd,
}

impl Aside {
    /// `None` where it is not needed. From Linux 6.8 on mounts are listed in the order they were
    /// made in, before that in the order they were put in place. Readers of the list take a later
    /// one to be the upper one, and our trees were made before all file systems.
    fn of(old: &OwnedFd) -> Option<Aside> {
        let uname = rustix::system::uname();
        let mut numbers = uname.release().to_str().ok()?.split(['.', '-']);
        let mut number = || numbers.next()?.parse::<u32>().ok();
        if (number()?, number()?) < (6, 8) {
            return None;
        }
        let open = |name| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat(old, name, flags, Mode::empty()).ok()
        };
        Some(Aside {
            directory: open(c"dev")?,
            file: open(c"dev/null")?,
        })
    }
}

/// Attaches a tree, or puts it aside and attaches a clone that is made now, and returned.
fn put_tree(
    tree: &OwnedFd,
    target: &OwnedFd,
    aside: Option<&OwnedFd>,
) -> rustix::io::Result<Option<OwnedFd>> {
    let Some(aside) = aside else {
        attach(tree, target)?;
        return Ok(None);
    };
    attach(tree, aside)?;
    let clone = clone_tree(tree, c"", true)?;
    attach(&clone, target)?;
    Ok(Some(clone))
}

/// A file's mount and its number there.
fn place(fd: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    let asked = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, asked)?;
    Ok((found.stx_mnt_id, found.stx_ino))
}

/// What has to wait until everything is in place: read-only file systems and propagation. By
/// the mounts' descriptors: where they are by name may have been moved by whoever shares a
/// volume with this container.
fn finish_mounts(mounts: &[PreparedMount], made: &[Option<OwnedFd>]) -> Result<()> {
    let read_only = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    for (mount, made) in mounts.iter().zip(made) {
        let options = &mount.options;
        let late = match mount.source {
            Source::Tree { .. } | Source::Cgroup(_) | Source::Remount => 0,
            Source::Dev { .. } | Source::FileSystem { .. } => {
                (options.set | options.set_below) & read_only
            }
        };
        let context = || format!("finish the mount on {}", mount.destination.display());
        let itself = match &mount.source {
            Source::Tree { tree, .. } | Source::Dev { tree, .. } => {
                Some(made.as_ref().unwrap_or(tree))
            }
            Source::FileSystem { .. } | Source::Cgroup(_) | Source::Remount => made.as_ref(),
        };
        let itself = itself.with_context(context)?;
        let propagations = options.propagation.iter().copied();
        let changes = propagations
            .map(|(propagation, recursive)| (0, propagation, recursive))
            .chain((late != 0).then_some((late, 0, false)));
        for (set, propagation, recursive) in changes {
            let attributes = Attributes {
                set,
                propagation,
                ..Attributes::default()
            };
            set_attributes(itself, c"", recursive, attributes).with_context(context)?;
        }
    }
    Ok(())
}

/// Both arguments of pivot_root are the new root: the old one is then stacked on it, and
/// unmounting "." takes it away. No directory for the old root is needed.
fn pivot(root: &OwnedFd, old: &OwnedFd) -> Result<()> {
    fchdir(root)?;
    pivot_root(c".", c".").context("pivot_root")?;
    fchdir(old)?;
    let slave = Attributes {
        propagation: SLAVE,
        ..Attributes::default()
    };
    set_attributes(CWD, c".", true, slave).context("make the old root a slave")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).context("unmount the old root")?;
    rustix::process::chdir(Path::new("/")).context("change to the new root")?;
    Ok(())
}

/// A clone of what `file` is, attached on `target`.
pub(crate) fn bind_fd(file: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    attach(clone_tree(file, c"", false)?, target)
}
