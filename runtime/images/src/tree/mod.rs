//! A file tree in memory, with what a Linux file system keeps of each inode.
//!
//! Layers are merged here, so no path that a layer names is ever followed on a
//! disk: `..`, absolute links and links into other directories meet nothing but
//! this tree. The image builder lays the same tree out as EROFS, and the store
//! writes it through directory descriptors.
//!
//! Inodes live in a table and directories hold numbers into it, so a hard link
//! is one inode with two names. Order is always that of the names' bytes.
//! It knows nothing of layers, archives or the OCI.

mod edit;
mod graft;
mod resolve;
mod walk;

pub use crate::content::Content;
pub use resolve::PathError;
pub(crate) use resolve::split;
pub use walk::{Entry, Walk};

use std::collections::BTreeMap;

/// Longest name of a directory entry, in bytes (NAME_MAX).
pub const NAME_MAX: usize = 255;
/// Longest path from the root, and longest symbolic link, in bytes
/// (PATH_MAX without its NUL).
pub const PATH_MAX: usize = 4095;
/// Directories from the root to an entry at most. A writer holds a descriptor
/// for each.
pub const DEPTH_MAX: usize = 256;

/// A name in a directory: not empty, no `/`, no NUL, not `.` or `..`, at most
/// [`NAME_MAX`] bytes.
pub type Name = Vec<u8>;

/// Extended attributes by full name (`security.capability`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Number of an inode in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// A merged file tree.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Inodes; the root is the first. Those that lost their last name stay
    /// until the tree is dropped, and no walk sees them.
    nodes: Vec<Node>,
    /// Most of them.
    nodes_max: u32,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Node {
    /// Owner, mode, time, attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// What every inode has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner, as the image numbers it.
    pub uid: u32,
    /// Group, as the image numbers it.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// A time since 1970-01-01 UTC, which may be before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanos: u32,
}

/// What an inode is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory.
    Dir(Entries),
    /// A regular file.
    File(Content),
    /// A symbolic link and the path it holds.
    Symlink(Vec<u8>),
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

/// Numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Driver.
    pub major: u32,
    /// Unit of the driver.
    pub minor: u32,
}

/// Entries of a directory. Only the tree changes them, so that every number in
/// them is one of its own inodes.
#[derive(Clone, Debug, Default)]
pub struct Entries(BTreeMap<Name, NodeId>);

impl Entries {
    /// Name and inode of each entry, in order of the names' bytes.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], NodeId)> + ExactSizeIterator {
        self.0.iter().map(|(name, id)| (name.as_slice(), *id))
    }

    /// The inode that goes by `name`.
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.0.get(name).copied()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the directory is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Meta {
    /// Owned by 0:0, of 1970, without attributes.
    pub fn with_mode(mode: u32) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

impl Node {
    /// An empty directory.
    pub fn dir(meta: Meta) -> Self {
        Self {
            meta,
            kind: Kind::Dir(Entries::default()),
        }
    }

    /// A regular file.
    pub fn file(meta: Meta, content: Content) -> Self {
        Self {
            meta,
            kind: Kind::File(content),
        }
    }

    /// A symbolic link, mode 0777 as Linux has it.
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Self {
            meta: Meta::with_mode(0o777),
            kind: Kind::Symlink(target.into()),
        }
    }

    /// Entries, if it is a directory.
    pub fn entries(&self) -> Option<&Entries> {
        match &self.kind {
            Kind::Dir(entries) => Some(entries),
            Kind::File(_) | Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.entries().is_some()
    }
}

impl Tree {
    /// A tree of one empty directory, mode 0755, owned by 0:0, of 1970.
    pub fn new() -> Self {
        Self {
            nodes: vec![Node::dir(Meta::with_mode(0o755))],
            nodes_max: u32::MAX,
        }
    }

    /// The same, for at most so many inodes: what an image names in few bytes
    /// (`a/a/a/…`) can be many directories.
    pub(crate) fn bounded(inodes: usize) -> Self {
        Self {
            nodes_max: u32::try_from(inodes).unwrap_or(u32::MAX),
            ..Self::new()
        }
    }

    /// The root directory's number.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// The inode of that number, which must come from this tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The same, to change owner, mode, time, attributes or content.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// Entries of a directory; none for anything else.
    fn entries_mut(&mut self, id: NodeId) -> Option<&mut BTreeMap<Name, NodeId>> {
        match &mut self.node_mut(id).kind {
            Kind::Dir(entries) => Some(&mut entries.0),
            Kind::File(_) | Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => None,
        }
    }

    /// Takes an inode into the table, as yet without a name.
    fn push(&mut self, node: Node) -> Result<NodeId, PathError> {
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if id >= self.nodes_max {
            let why = format!(
                "there are more than {} files and directories",
                self.nodes_max
            );
            return Err(PathError::new(b"/", why));
        }
        self.nodes.push(node);
        Ok(NodeId(id))
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}
