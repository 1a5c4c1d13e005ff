//! Laying a tree out in a directory.
//!
//! Every call goes through the descriptor of a directory that was just made,
//! takes one name of the tree, and follows no link; the bytes, owner, mode,
//! attributes and time follow in that order, since each of them may clear a
//! later one (writing clears capabilities, chown clears setuid, and so on).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};

use crate::content::Content;
use crate::spool::free_bytes;
use crate::tree::{Kind, Meta, Node, NodeId, Time, Tree};
use crate::{Error, Result};

/// Who owns the files of an unpacked image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Whom the image says, attributes included; needs privilege.
    Image,
    /// Whoever unpacks. Owners and `security.*` attributes are left out. Only
    /// for looking at an image, never for running it.
    Unpacker,
}

/// Names and inodes of one directory, on the way.
struct Writer<'a> {
    tree: &'a Tree,
    root: &'a OwnedFd,
    /// Where `root` is, for messages.
    shown: &'a Path,
    ownership: Ownership,
    /// Names of each inode that is no directory.
    counts: BTreeMap<NodeId, u32>,
    /// Path of the first name of each inode that has several.
    first: BTreeMap<NodeId, Vec<u8>>,
}

/// Writes all of `tree` into the empty directory `root`, which is at `shown`.
pub(super) fn write_tree(
    tree: &Tree,
    root: &OwnedFd,
    shown: &Path,
    ownership: Ownership,
) -> Result<()> {
    let mut writer = Writer {
        tree,
        root,
        shown,
        ownership,
        counts: tree.link_counts(),
        first: BTreeMap::new(),
    };
    writer.fill(root.as_fd(), tree.root(), &mut Vec::new())
}

impl Writer<'_> {
    /// Writes a directory's entries, and then its own owner, mode and time:
    /// entries change the latter, and the mode may shut the writer out.
    fn fill(&mut self, dir: BorrowedFd<'_>, id: NodeId, path: &mut Vec<u8>) -> Result<()> {
        let tree = self.tree;
        let node = tree.node(id);
        let entries = node
            .entries()
            .into_iter()
            .flat_map(|entries| entries.iter());
        for (name, child) in entries {
            let parent = path.len();
            if parent > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if tree.node(child).is_dir() {
                let below = make_dir(dir, name).map_err(|error| self.failed(path, error))?;
                self.fill(below.as_fd(), child, path)?;
            } else {
                self.leaf(dir, name, child, path)
                    .map_err(|error| self.failed(path, error))?;
            }
            path.truncate(parent);
        }
        self.settle(dir, &node.meta)
            .map_err(|error| self.failed(path, error))
    }

    /// Writes an entry that is no directory.
    fn leaf(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> io::Result<()> {
        if let Some(first) = self.first.get(&id) {
            return self.link(dir, name, first);
        }
        if self.counts.get(&id).is_some_and(|count| *count > 1) {
            self.first.insert(id, path.to_vec());
        }
        let node = self.tree.node(id);
        match &node.kind {
            Kind::File(content) => {
                let file = create(dir, name)?;
                copy(content, &file)?;
                self.settle(file.as_fd(), &node.meta)
            }
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), dir, name)?;
                self.settle_link(dir, name, node)
            }
            Kind::Fifo => {
                rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                self.settle_link(dir, name, node)?;
                // Nothing else can have put a link there: the directory is ours.
                let mode = Mode::from_raw_mode(node.meta.mode);
                Ok(rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?)
            }
            Kind::Dir(_) => Ok(()),
            // Images are read without devices; a tree that has one all the
            // same must not bring it onto the host.
            Kind::Char(_) | Kind::Block(_) => Err(io::Error::other(
                "a device node does not belong in an image store",
            )),
        }
    }

    /// Gives the file at `first` a further name.
    fn link(&self, dir: BorrowedFd<'_>, name: &[u8], first: &[u8]) -> io::Result<()> {
        let (parent, last) = match first.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&first[..at], &first[at + 1..]),
            None => (&b"."[..], first),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = rustix::fs::openat2(self.root, parent, flags, Mode::empty(), inside)?;
        Ok(rustix::fs::linkat(
            &parent,
            last,
            dir,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Owner, mode, attributes and time of an open file or directory.
    fn settle(&self, file: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
        if self.ownership == Ownership::Image {
            rustix::fs::fchown(file, Some(uid(meta)), Some(gid(meta)))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
        for (name, value) in self.attributes(meta) {
            rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?;
        }
        Ok(rustix::fs::futimens(file, &times(meta.mtime))?)
    }

    /// Owner, attributes and time of an entry that cannot be opened.
    fn settle_link(&self, dir: BorrowedFd<'_>, name: &[u8], node: &Node) -> io::Result<()> {
        let meta = &node.meta;
        let here = AtFlags::SYMLINK_NOFOLLOW;
        if self.ownership == Ownership::Image {
            rustix::fs::chownat(dir, name, Some(uid(meta)), Some(gid(meta)), here)?;
        }
        if !meta.xattrs.is_empty() {
            // There is no call that takes a directory's descriptor and a name.
            let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            for (name, value) in self.attributes(meta) {
                rustix::fs::lsetxattr(path.as_slice(), name, value, XattrFlags::empty())?;
            }
        }
        Ok(rustix::fs::utimensat(dir, name, &times(meta.mtime), here)?)
    }

    fn attributes<'m>(&self, meta: &'m Meta) -> impl Iterator<Item = (&'m [u8], &'m [u8])> {
        let all = self.ownership == Ownership::Image;
        meta.xattrs
            .iter()
            .filter(move |(name, _)| all || name.starts_with(b"user."))
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    fn failed(&self, path: &[u8], error: io::Error) -> Error {
        use std::os::unix::ffi::OsStrExt as _;
        let path = self.shown.join(std::ffi::OsStr::from_bytes(path));
        failed(self.shown, &path, error)
    }
}

/// A new directory, open, which only its owner may enter as yet.
pub(super) fn make_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// A new file of the store's own, readable by all.
pub(super) fn write_file(dir: BorrowedFd<'_>, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    let file = create(dir, name)?;
    (&file).write_all(bytes)?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?)
}

fn create(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Copies within the kernel where the bytes are in a file.
fn copy(content: &Content, to: &File) -> io::Result<()> {
    let Some((from, mut offset)) = content.file() else {
        return content.copy_to(&mut &*to);
    };
    let mut left = content.len();
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut offset), to, None, step) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            // Between file systems that do not know each other.
            Err(
                rustix::io::Errno::XDEV | rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP,
            ) if left == content.len() => {
                return content.copy_to(&mut &*to);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn uid(meta: &Meta) -> Uid {
    Uid::from_raw(meta.uid)
}

fn gid(meta: &Meta) -> Gid {
    Gid::from_raw(meta.gid)
}

/// Both times are the image's: an access time of today would make two
/// unpackings differ.
fn times(mtime: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.secs,
        tv_nsec: mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// A failed write to `path`, on the file system of `dir`.
pub(super) fn failed(dir: &Path, path: &Path, error: io::Error) -> Error {
    let error = Error::io(format!("write {}", path.display()), error);
    if error.is_no_space() {
        let free = free_bytes(dir);
        let path: PathBuf = dir.to_owned();
        return Error::NoSpace {
            path,
            needed: free.saturating_add(4096),
            free,
        };
    }
    error
}
