//! The parent's part: every host path becomes a descriptor before the child exists.
//!
//! The child may lack the right to search the host's directories (it has the container's
//! ids), and must have no reason to. Trees are clones with private propagation, so nothing
//! mounted in the container shows on the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Mount;
use orlop_sys::idmap::userns_fd;
use orlop_sys::mount::{Attributes, PRIVATE, SHARED, SLAVE, clone_tree, set_attributes};
use rustix::fs::CWD;

use super::dev;
use super::device;
use super::host_device::{self, HostDevice};
use super::options::Options;
use super::path::{Kind, file_type};
use crate::config::Bundle;
use crate::log;
use crate::namespaces::{Namespaces, libc_flags, ranges};
use crate::standing::Standing;

/// What to mount in the container, ready to be attached.
#[derive(Debug)]
pub(crate) enum Source {
    /// A tree of the host, its attributes set. `idmap_later`: by the container's own user
    /// namespace, which does not exist yet, and whether everything below is too.
    Tree {
        tree: OwnedFd,
        kind: Kind,
        idmap_later: Option<bool>,
    },
    /// The tmpfs for /dev with its nodes, but for those that are `bound` there.
    Dev {
        tree: OwnedFd,
        bound: Vec<HostDevice>,
    },
    /// A file system that the child makes, so that it belongs to its namespaces.
    FileSystem { name: String, source: PathBuf },
    /// The container's cgroup, for the child to open: it is made once there is a child.
    Cgroup(PathBuf),
    /// What is mounted there already, to be changed.
    Remount,
}

#[derive(Debug)]
pub(crate) struct PreparedMount {
    pub(crate) destination: PathBuf,
    pub(crate) source: Source,
    pub(crate) options: Options,
}

#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) root: OwnedFd,
    pub(crate) mounts: Vec<PreparedMount>,
    /// /dev/null, checked to be it: what masked files are covered with.
    pub(crate) null: OwnedFd,
    /// What is bound outside of /dev, when all else is mounted.
    pub(crate) bound: Vec<HostDevice>,
}

impl Prepared {
    /// Descriptors that the child must keep.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.root.as_fd(), self.null.as_fd()];
        fds.extend(self.bound.iter().map(|device| device.tree.as_fd()));
        for mount in &self.mounts {
            match &mount.source {
                Source::Tree { tree, .. } => fds.push(tree.as_fd()),
                Source::Dev { tree, bound } => {
                    fds.push(tree.as_fd());
                    fds.extend(bound.iter().map(|device| device.tree.as_fd()));
                }
                Source::FileSystem { .. } | Source::Cgroup(_) | Source::Remount => {}
            }
        }
        fds
    }

    /// By the child, before it is anywhere else: what was not there before it.
    pub(crate) fn open_late(&mut self) -> Result<()> {
        for mount in &mut self.mounts {
            if let Source::Cgroup(path) = &mount.source {
                let tree = cgroup_tree(path, &mount.options);
                mount.source =
                    tree.with_context(|| format!("mount on {}", mount.destination.display()))?;
            }
        }
        Ok(())
    }

    /// Gives the trees that wait for it the container's own id mapping. The child has the
    /// same descriptors, so it needs no message about this.
    pub(crate) fn idmap(&self, container: &OwnedFd) -> Result<()> {
        for mount in &self.mounts {
            if let Source::Tree {
                tree,
                idmap_later: Some(recursive),
                ..
            } = &mount.source
            {
                idmap(tree, container.as_fd(), *recursive, &mount.destination)?;
            }
        }
        Ok(())
    }

    /// Whether /dev is the one that was made here.
    pub(crate) fn has_own_dev(&self) -> bool {
        let is_dev = |mount: &PreparedMount| matches!(mount.source, Source::Dev { .. });
        self.mounts.iter().any(is_dev)
    }

    pub(crate) fn wants_idmap(&self) -> bool {
        self.mounts.iter().any(|mount| {
            matches!(
                mount.source,
                Source::Tree {
                    idmap_later: Some(_),
                    ..
                }
            )
        })
    }
}

/// The container's own cgroup, for those whom it shows the host's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'p> {
    pub(crate) path: &'p Path,
    /// Not yet, where systemd makes it for a process that exists. What the disk has at its path
    /// then is another's, or what that left.
    pub(crate) is_made: bool,
}

impl Shown<'_> {
    fn source(&self, options: &Options) -> Result<Source> {
        if self.is_made {
            cgroup_tree(self.path, options)
        } else {
            Ok(Source::Cgroup(self.path.to_owned()))
        }
    }
}

/// By the parent, or by the child itself where only that can.
pub(crate) fn prepare(
    bundle: &Bundle,
    namespaces: &Namespaces,
    cgroup: Option<Shown<'_>>,
    standing: Standing,
) -> Result<Prepared> {
    let words = bundle.linux.rootfs_propagation().as_deref();
    let from_host = Options::parse(words).propagation;
    let from_host = from_host.iter().find(|(kind, _)| *kind == SLAVE);
    let root = host_tree(&bundle.rootfs(), true, from_host.copied()).context("root file system")?;
    ensure!(
        file_type(&root)? == rustix::fs::FileType::Directory,
        "root file system {}: not a directory",
        bundle.rootfs().display()
    );
    let mut mounts = Vec::with_capacity(bundle.mounts.len() + 1);
    let has_dev = bundle
        .mounts
        .iter()
        .any(|mount| mount.destination() == Path::new("/dev"));
    if !has_dev {
        let words = ["nosuid", "noexec", "mode=755", "size=64k"];
        let mut options = Options::parse(words);
        let label = bundle.linux.mount_label().as_deref().unwrap_or_default();
        options.label(label, "tmpfs");
        mounts.push(dev_mount(bundle, options, standing)?);
    }
    for mount in &bundle.mounts {
        let prepared = prepare_mount(bundle, namespaces, (cgroup, standing), mount)
            .with_context(|| format!("mount on {}", mount.destination().display()))?;
        mounts.push(prepared);
    }
    Ok(Prepared {
        bound: outside_dev(bundle, &root, standing)?,
        root,
        mounts,
        null: host_device::null()?,
    })
}

/// Makes the devices that are not for /dev, or returns what to bind for them.
fn outside_dev(bundle: &Bundle, root: &OwnedFd, standing: Standing) -> Result<Vec<HostDevice>> {
    let devices = bundle.linux.devices().iter().flatten();
    let mut devices: Vec<_> = devices
        .filter(|device| !device::is_in_dev(device))
        .cloned()
        .collect();
    let mut bound = Vec::new();
    if devices.is_empty() {
        return Ok(bound);
    }
    if !standing.makes_nodes() {
        devices = host_device::open_all(&devices, &mut bound).context("linux.devices")?;
    }
    let owner = dev::Owner::of_container(&bundle.linux, standing);
    device::make_all(root, &devices, &owner)?;
    Ok(bound)
}

fn prepare_mount(
    bundle: &Bundle,
    namespaces: &Namespaces,
    (cgroup, standing): (Option<Shown<'_>>, Standing),
    mount: &Mount,
) -> Result<PreparedMount> {
    let words = mount.options().iter().flatten().map(String::as_str);
    let mut options = Options::parse(words);
    let kind = mount.typ().as_deref().unwrap_or_default();
    let destination = mount.destination().clone();
    let label = bundle.linux.mount_label().as_deref().unwrap_or_default();
    if !is_bind(&options, kind) {
        options.label(label, kind);
    }
    check_destination(&destination, kind)?;
    let new_tmpfs = kind == "tmpfs" && !is_bind(&options, kind) && !options.remount;
    ensure!(
        !options.copy_up || (new_tmpfs && destination != Path::new("/dev")),
        "tmpcopyup is for a new tmpfs, other than /dev"
    );
    let source = if options.remount {
        Source::Remount
    } else if is_bind(&options, kind) {
        let recursive = options.bind == Some(true) || kind == "rbind";
        bind(bundle, namespaces, mount, &options, recursive)?
    } else if mount.uid_mappings().is_some() || options.idmap.is_some() {
        bail!("id mappings are for bind mounts; this one is of type {kind:?}");
    } else if destination == Path::new("/dev") && kind == "tmpfs" {
        return dev_mount(bundle, options, standing);
    } else if matches!(kind, "cgroup" | "cgroup2") {
        if namespaces.all & libc_flags::CGROUP != 0 {
            options.data.clear();
            Source::FileSystem {
                name: "cgroup2".into(),
                source: "cgroup2".into(),
            }
        } else {
            let shown = cgroup.context("the container has no cgroup of its own to show")?;
            shown.source(&options)?
        }
    } else if kind.is_empty() {
        bail!("neither a type nor the option \"bind\" is given");
    } else {
        Source::FileSystem {
            name: kind.to_owned(),
            source: mount.source().clone().unwrap_or_else(|| kind.into()),
        }
    };
    Ok(PreparedMount {
        destination,
        source,
        options,
    })
}

fn cgroup_tree(path: &Path, options: &Options) -> Result<Source> {
    let tree = host_tree(path, true, None)?;
    set(&tree, options)?;
    Ok(Source::Tree {
        tree,
        kind: Kind::Directory,
        idmap_later: None,
    })
}

fn is_bind(options: &Options, kind: &str) -> bool {
    options.bind.is_some() || matches!(kind, "bind" | "rbind")
}

fn dev_mount(bundle: &Bundle, options: Options, standing: Standing) -> Result<PreparedMount> {
    let owner = dev::Owner::of_container(&bundle.linux, standing);
    let devices = bundle.linux.devices().iter().flatten();
    let mut devices: Vec<_> = devices
        .filter(|device| device::is_in_dev(device))
        .cloned()
        .collect();
    let mut bound = Vec::new();
    if !standing.makes_nodes() {
        bound = host_device::usual().context("/dev")?;
        devices = host_device::open_all(&devices, &mut bound).context("/dev")?;
    }
    let nodes = standing.makes_nodes();
    let tree = dev::make(&options, nodes, &devices, &owner).context("/dev")?;
    Ok(PreparedMount {
        destination: "/dev".into(),
        source: Source::Dev { tree, bound },
        options,
    })
}

/// Nothing but procfs itself, and a few of its files that LXCFS stands in for, may be mounted
/// at or below /proc: what is read and written there must be the kernel's. This is about the
/// name; a link that leads there is met when the mount is put in place.
pub(super) fn check_destination(destination: &Path, kind: &str) -> Result<()> {
    const STAND_INS: [&str; 8] = [
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "slabinfo",
    ];
    let Ok(below) = destination.strip_prefix("/proc") else {
        return Ok(());
    };
    if below == Path::new("") {
        ensure!(
            matches!(kind, "proc" | "bind" | "rbind" | "none" | ""),
            "only a proc file system may be mounted here"
        );
        return Ok(());
    }
    ensure!(
        STAND_INS.iter().any(|name| below == Path::new(name)),
        "mounts below /proc are refused, but for {}",
        STAND_INS.join(", ")
    );
    Ok(())
}

fn bind(
    bundle: &Bundle,
    namespaces: &Namespaces,
    mount: &Mount,
    options: &Options,
    recursive: bool,
) -> Result<Source> {
    let source = mount
        .source()
        .as_deref()
        .context("a bind mount needs a source")?;
    check_data(mount, options)?;
    let shares = options.propagation.iter().rev().copied();
    // Nobody's mounts in a user namespace show on the host: there, as the kernel has it for
    // mounts that are copied, what is shared is a slave with peers of its own.
    let in_userns = namespaces.all & libc_flags::USER != 0;
    let shares = shares
        .map(|(kind, below)| match kind {
            SHARED if in_userns => (SLAVE, below),
            kind => (kind, below),
        })
        .find(|(kind, _)| matches!(*kind, SHARED | SLAVE));
    let tree = host_tree(&bundle.dir.join(source), recursive, shares)?;
    let kind = match file_type(&tree)? {
        rustix::fs::FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    set(&tree, options)?;
    let theirs = (
        ranges(mount.uid_mappings().as_ref()),
        ranges(mount.gid_mappings().as_ref()),
    );
    let own = (
        ranges(bundle.linux.uid_mappings().as_ref()),
        ranges(bundle.linux.gid_mappings().as_ref()),
    );
    let mut idmap_later = None;
    // Without a word for it, a mapping is for all that is mounted.
    let below = options.idmap.unwrap_or(true);
    if !theirs.0.is_empty() && theirs != own {
        let userns = userns_fd(&theirs.0, &theirs.1).context("uidMappings and gidMappings")?;
        idmap(&tree, userns.as_fd(), below, mount.destination())?;
    } else if options.idmap.is_some() || mount.uid_mappings().is_some() {
        ensure!(
            !own.0.is_empty(),
            "id-mapped without mappings of its own, and the container has none either"
        );
        idmap_later = Some(below);
    }
    Ok(Source::Tree {
        tree,
        kind,
        idmap_later,
    })
}

/// A bind mount shows a file system as it is, so options for one are refused: perhaps they were
/// to take something away. But a size or a mode and the like are left out with a warning, as
/// other runtimes do without: with them, or not, it is as safe.
fn check_data(mount: &Mount, options: &Options) -> Result<()> {
    for (word, _) in &options.data {
        ensure!(
            matches!(
                word.as_str(),
                "size" | "mode" | "uid" | "gid" | "nr_blocks" | "nr_inodes"
            ),
            "a bind mount does not take the option {word:?}"
        );
        log::warn(&format!(
            "mount on {}: the option {word:?} is left out: a bind mount has none",
            mount.destination().display()
        ));
    }
    Ok(())
}

fn idmap(
    tree: &OwnedFd,
    userns: BorrowedFd<'_>,
    recursive: bool,
    destination: &Path,
) -> Result<()> {
    let attributes = Attributes {
        idmap: Some(userns),
        ..Attributes::default()
    };
    set_attributes(tree, c"", recursive, attributes).map_err(|errno| match errno {
        rustix::io::Errno::INVAL => anyhow::anyhow!(
            "id-mapping the mount on {}: its file system has no id-mapped mounts",
            destination.display()
        ),
        errno => anyhow::Error::from(errno)
            .context(format!("id-mapping the mount on {}", destination.display())),
    })
}

/// A clone of what is at `path`. What is mounted in one of the two later is no matter of the
/// other's, unless `shares` says so: a slave gets it from the host, a shared one gives it too.
fn host_tree(path: &Path, recursive: bool, shares: Option<(u64, bool)>) -> Result<OwnedFd> {
    let tree = clone_tree(CWD, path, recursive).map_err(|errno| match errno {
        rustix::io::Errno::INVAL if !recursive => anyhow::anyhow!(
            "{}: with what is mounted below left out, it would show what the mounts there cover; \
             bind it with them (rbind)",
            path.display()
        ),
        errno => anyhow::Error::from(errno).context(path.display().to_string()),
    })?;
    let set = |propagation| {
        let attributes = Attributes {
            propagation,
            ..Attributes::default()
        };
        set_attributes(&tree, c"", true, attributes)
            .with_context(|| format!("{}: set its propagation", path.display()))
    };
    match shares {
        // What is mounted below gets no more than its top: it would give to the host.
        Some((SLAVE, _)) => set(SLAVE)?,
        // As its source is: made private, it could not be so again.
        Some(_) => {}
        None => set(PRIVATE)?,
    }
    Ok(tree)
}

/// Sets a tree's attributes; what is for everything below first, so that the mount's own win.
fn set(tree: &OwnedFd, options: &Options) -> Result<()> {
    if options.set_below | options.clear_below != 0 {
        let attributes = Attributes {
            set: options.set_below,
            clear: options.clear_below,
            ..Attributes::default()
        };
        set_attributes(tree, c"", true, attributes).context("recursive mount attributes")?;
    }
    if options.set | options.clear != 0 {
        let attributes = Attributes {
            set: options.set,
            clear: options.clear,
            ..Attributes::default()
        };
        set_attributes(tree, c"", false, attributes).context("mount attributes")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_where_a_cgroup_is_going_to_be_is_not_shown() {
        let left = tempfile::tempdir().unwrap();
        let shown = Shown {
            path: left.path(),
            is_made: false,
        };
        match shown.source(&Options::parse(["ro"])).unwrap() {
            Source::Cgroup(path) => assert_eq!(path, left.path()),
            other => panic!("{other:?}"),
        }
    }
}
