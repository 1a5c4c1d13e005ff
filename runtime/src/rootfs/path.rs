//! Paths inside a root that is not to be trusted.
//!
//! Every lookup is an openat2 that cannot leave the root, whatever links it meets and whoever
//! swaps them meanwhile, and its result is a descriptor that the caller then uses: a path is
//! never looked up a second time.
//!
//! A link is followed whichever mount it is on, a volume's too, as runc and crun do: people have
//! volumes with links in them on the way to what they mount below (a `current` that names one of
//! several releases, a /run that is a tmpfs with the image's links copied up), and the mount is
//! to be where that name leads in the container. So who else may write to a volume has a say in
//! where in the container's root the mounts below it come to be, and a volume is shared with
//! those alone who are trusted with that. Outside of the root, on the root itself or in /proc
//! nothing ever comes to be: `put` in `enter` refuses what this module lets through.
//!
//! Written here rather than taken from a library because our kernels have openat2, which leaves
//! little to write.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a lookup that raced with a rename is tried again (openat2 says EAGAIN).
const RETRIES: usize = 128;
/// How many links that lead nowhere are walked on one path, as in the kernel.
const LINKS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Opens `path` inside `root`. Links are followed within the root, but none at all on the way
/// to anything under /proc, /sys and /dev, which must be the real ones.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if is_special(path) {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 0..RETRIES {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// A descriptor good for mounting on, and for nothing else.
pub(crate) fn locate(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    open(root, path, OFlags::PATH)
}

/// Locates `path`, making it and its parents where missing.
pub(crate) fn make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Result<OwnedFd> {
    let found = match locate(root, path) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => make_missing(root, path, kind)?,
        Err(errno) => return Err(explain(errno, path)),
    };
    let is_directory = file_type(&found)? == FileType::Directory;
    match kind {
        Kind::Directory if !is_directory => {
            bail!(
                "{}: is not a directory in the root file system",
                path.display()
            )
        }
        Kind::File if is_directory => {
            bail!(
                "{}: is a directory in the root file system, not a file",
                path.display()
            )
        }
        Kind::Directory | Kind::File => Ok(found),
    }
}

/// Walks `path` and makes what is missing. A link that leads nowhere is walked in its turn: what
/// it names is made, inside the root like all else.
fn make_missing(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Result<OwnedFd> {
    let mut left = names(path)?;
    left.reverse();
    let top = Path::new("/");
    let (mut parent, mut walked) = (locate(root, top)?, top.to_owned());
    let mut links = 0;
    while let Some(name) = left.pop() {
        let above = walked.clone();
        walked.push(&name);
        match locate(root, &walked) {
            Ok(fd) => parent = fd,
            Err(Errno::NOENT) => {
                let as_file = left.is_empty() && kind == Kind::File;
                let made = make_one(&parent, &name, as_file)
                    .with_context(|| format!("{}: cannot be made", walked.display()))?;
                if let Some(fd) = made {
                    parent = fd;
                    continue;
                }
                links += 1;
                ensure!(links <= LINKS, explain(Errno::LOOP, &walked));
                let target = link_target(&parent, &name)
                    .with_context(|| format!("{}: cannot be made", walked.display()))?;
                walked = above;
                if target.is_absolute() {
                    (parent, walked) = (locate(root, top)?, top.to_owned());
                }
                left.extend(parts(&target).rev());
            }
            Err(errno) => return Err(explain(errno, &walked)),
        }
    }
    Ok(parent)
}

fn link_target(parent: &OwnedFd, name: &Path) -> rustix::io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// What a link's target leads over. What ".." means is for the kernel to say: the path up to
/// there exists by then.
fn parts(target: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    let parts = target.components().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(PathBuf::from(part.as_os_str())),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect::<Vec<_>>().into_iter()
}

/// Makes `name` in `parent` and opens just that; `None` when something is there already, which
/// can only be a link that leads nowhere.
fn make_one(parent: &OwnedFd, name: &Path, as_file: bool) -> Result<Option<OwnedFd>> {
    let made = if as_file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::openat(parent, name, flags | OFlags::WRONLY, mode).map(drop)
    } else {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
    };
    match made {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(None),
        Err(Errno::ROFS) => {
            bail!("the root file system is read-only here; make the mount point in the image")
        }
        Err(errno) => return Err(errno.into()),
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let made = rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)?;
    Ok(Some(made))
}

/// The names in an absolute path; "." is dropped and ".." refused.
fn names(path: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(PathBuf::from(name)),
            Component::ParentDir | Component::Prefix(_) => {
                bail!("{}: \"..\" in a path that is to be made", path.display())
            }
        }
    }
    ensure!(!names.is_empty(), "{}: names nothing", path.display());
    Ok(names)
}

/// Whether the path leads under /proc, /sys or /dev.
pub(crate) fn is_special(path: &Path) -> bool {
    let first = path.components().find_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
            None
        }
    });
    first.is_some_and(|name| name == "proc" || name == "sys" || name == "dev")
}

pub(crate) fn file_type(fd: &OwnedFd) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Says what is wrong with a path that could not be opened.
pub(super) fn explain(errno: Errno, path: &Path) -> anyhow::Error {
    let why = match errno {
        Errno::LOOP if is_special(path) => {
            "a symbolic link; /proc, /sys and /dev must be real directories in the image"
        }
        Errno::LOOP => "too many symbolic links, or a magic one",
        Errno::NOTDIR => "a component is not a directory",
        Errno::ACCESS => "a component cannot be searched by the container's root",
        _ => return anyhow::Error::from(errno).context(path.display().to_string()),
    };
    anyhow::anyhow!("{}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        for dir in ["a/b", "real", "etc"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("../../..", root.join("a/up")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        symlink("../run/resolve/stub", root.join("etc/resolv.conf")).unwrap();
        symlink("../../../../far/../gone", root.join("real/out")).unwrap();
        symlink("dangling/deeper", root.join("twice")).unwrap();
        symlink("/proc/gone", root.join("special")).unwrap();
        symlink("self", root.join("self")).unwrap();
        symlink("/real", root.join("proc")).unwrap();
        let fd = rustix::fs::open(&root, OFlags::PATH, Mode::empty()).unwrap();
        (outer, fd)
    }

    #[test]
    fn made_inside_or_refused() {
        let (outer, fd) = root();
        let cases = [
            ("/new/deep/dir", Kind::Directory, Ok("root/new/deep/dir")),
            ("/new/file", Kind::File, Ok("root/new/file")),
            ("/link/x", Kind::Directory, Ok("root/real/x")),
            ("/a/up/escaped", Kind::Directory, Ok("root/escaped")),
            ("/../out", Kind::Directory, Err("\"..\"")),
            ("/etc/resolv.conf", Kind::File, Ok("root/run/resolve/stub")),
            ("/link/out", Kind::Directory, Ok("root/gone")),
            ("/twice/x", Kind::Directory, Ok("root/nowhere/deeper/x")),
            ("/dangling", Kind::Directory, Ok("root/nowhere")),
            ("/special", Kind::Directory, Err("real directories")),
            ("/self", Kind::Directory, Err("too many")),
            ("/proc", Kind::Directory, Err("real directories")),
            ("/proc/self", Kind::Directory, Err("real directories")),
            ("/file", Kind::Directory, Err("not a directory")),
            ("/file/x", Kind::Directory, Err("not a directory")),
            ("/a", Kind::File, Err("is a directory")),
        ];
        for (path, kind, expected) in cases {
            let got = make(fd.as_fd(), Path::new(path), kind);
            match (got, expected) {
                (Ok(_), Ok(at)) => assert!(outer.path().join(at).exists(), "{path}"),
                (Err(error), Err(text)) => {
                    assert!(format!("{error:#}").contains(text), "{path}: {error:#}");
                }
                (got, expected) => panic!("{path}: {got:?}, expected {expected:?}"),
            }
        }
        let outside: Vec<_> = std::fs::read_dir(outer.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "something was made outside the root");
    }

    /// A link is swapped back and forth between a directory and the way out while targets
    /// are made: they appear inside, or not at all.
    #[test]
    fn a_racing_link_does_not_lead_out() {
        let (outer, fd) = root();
        let victim = outer.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        symlink(&victim, outer.path().join("root/evil")).unwrap();
        std::fs::create_dir(outer.path().join("root/swap")).unwrap();
        let (root, stop) = (
            outer.path().join("root"),
            std::sync::atomic::AtomicBool::new(false),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let dir = rustix::fs::open(&root, OFlags::PATH, Mode::empty()).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(&dir, "evil", &dir, "swap", exchange).unwrap();
                }
            });
            for index in 0..2000 {
                let path = PathBuf::from(format!("/swap/t{index}"));
                let _ = make(fd.as_fd(), &path, Kind::Directory);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    }
}
