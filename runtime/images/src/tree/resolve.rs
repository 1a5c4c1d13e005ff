//! Paths in a tree: taking them apart, and walking them as a chroot would.
//!
//! A symbolic link in the middle of a path is followed *inside the tree*, as
//! umoci and containerd do it: absolute targets start at the tree's root, and
//! `..` at the root stays there. So a layer with `lib/x`, over one where `lib`
//! links to `usr/lib`, puts the file where the container will look for it, and
//! no link leads out.

use std::collections::VecDeque;
use std::fmt;

use super::{DEPTH_MAX, Kind, Meta, NAME_MAX, Node, NodeId, PATH_MAX, Tree};

/// Symbolic links followed for one path, as the kernel's MAXSYMLINKS.
const LINKS_MAX: usize = 40;

/// A path that cannot be in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The path, with what is not UTF-8 replaced.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

impl PathError {
    pub(crate) fn new(path: &[u8], why: impl Into<String>) -> Self {
        Self {
            path: String::from_utf8_lossy(path).into_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {:?}: {}", self.path, self.why)
    }
}

impl std::error::Error for PathError {}

/// Takes a path apart. A leading `/`, doubled slashes and `.` mean nothing, as
/// tar has always read them; `..` is refused, since no honest archive has it.
pub(crate) fn split(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    if path.len() > PATH_MAX {
        let start = &path[..64];
        return Err(PathError::new(
            start,
            format!("is longer than {PATH_MAX} bytes"),
        ));
    }
    if path.contains(&0) {
        return Err(PathError::new(path, "holds a NUL byte"));
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                return Err(PathError::new(
                    path,
                    "holds `..`; name files from the root down",
                ));
            }
            name if name.len() > NAME_MAX => {
                return Err(PathError::new(
                    path,
                    format!("a name is longer than {NAME_MAX} bytes"),
                ));
            }
            name => names.push(name),
        }
    }
    Ok(names)
}

/// What to do where a path's directory does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it, mode 0755, owned by 0:0.
    Make,
    /// End there.
    Stop,
}

/// A directory, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The directory.
    pub(super) dir: NodeId,
    /// Directories from the root to it, the root included.
    depth: usize,
    /// Bytes of the path from the root to it.
    bytes: usize,
}

impl Place {
    /// Refuses an entry that a file system could not have in this directory.
    pub(super) fn check(&self, name: &[u8], whole: &[u8]) -> Result<(), PathError> {
        check_place(whole, self.depth, self.bytes + name.len() + 1, name)
    }
}

/// A walk from the root down.
struct Walker {
    /// Directories from the root to where the walk is, with each one's bytes
    /// in the path.
    stack: Vec<(NodeId, usize)>,
    /// Names still to go; link targets are put in front.
    left: VecDeque<Vec<u8>>,
    links: usize,
}

impl Tree {
    /// The inode at a path, following no link at all: an entry under a linked
    /// directory is not found under the link's name.
    pub fn lookup(&self, path: &[u8]) -> Option<NodeId> {
        let mut at = self.root();
        for name in split(path).ok()? {
            at = self.node(at).entries()?.get(name)?;
        }
        Some(at)
    }

    /// The directory at a path, links followed inside the tree; nothing if it
    /// is not there.
    ///
    /// # Errors
    /// A path that leads through a file or through more than 40 links.
    pub fn resolve(&mut self, path: &[u8]) -> Result<Option<NodeId>, PathError> {
        let names = split(path)?;
        Ok(self
            .resolve_dir(&names, Missing::Stop, &|_| false)?
            .map(|place| place.dir))
    }

    /// The directory that `names` lead to, links followed inside the tree;
    /// nothing if it is not there and `missing` says to stop, or if
    /// `is_gone` says of a link's place that it no longer counts.
    ///
    /// # Errors
    /// A file on the way, too many links, too deep.
    pub(super) fn resolve_dir(
        &mut self,
        names: &[&[u8]],
        missing: Missing,
        is_gone: &dyn Fn(NodeId) -> bool,
    ) -> Result<Option<Place>, PathError> {
        let mut walk = Walker {
            stack: vec![(self.root(), 0)],
            left: names.iter().map(|name| name.to_vec()).collect(),
            links: 0,
        };
        let whole = || names.join(&b'/');
        while let Some(name) = walk.left.pop_front() {
            if name.is_empty() || name == b"." {
                continue;
            }
            if name == b".." {
                if walk.stack.len() > 1 {
                    walk.stack.pop();
                }
                continue;
            }
            let Some(&(top, bytes)) = walk.stack.last() else {
                break;
            };
            let child = self
                .node(top)
                .entries()
                .and_then(|entries| entries.get(&name));
            let bytes = bytes + name.len() + 1;
            let Some(child) = child else {
                if missing == Missing::Stop {
                    return Ok(None);
                }
                check_place(&whole(), walk.stack.len(), bytes, &name)?;
                let made = self.push(Node::dir(Meta::with_mode(0o755)))?;
                if let Some(entries) = self.entries_mut(top) {
                    entries.insert(name, made);
                }
                walk.stack.push((made, bytes));
                continue;
            };
            match &self.node(child).kind {
                Kind::Dir(_) => walk.stack.push((child, bytes)),
                Kind::Symlink(_) if is_gone(child) => return Ok(None),
                Kind::Symlink(target) => walk.follow(target, &whole())?,
                Kind::File(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => {
                    let inner = String::from_utf8_lossy(&name).into_owned();
                    return Err(PathError::new(
                        &whole(),
                        format!("{inner:?} is not a directory"),
                    ));
                }
            }
        }
        let depth = walk.stack.len();
        Ok(walk
            .stack
            .last()
            .map(|&(dir, bytes)| Place { dir, depth, bytes }))
    }
}

impl Walker {
    /// Goes on along a link's target.
    fn follow(&mut self, target: &[u8], whole: &[u8]) -> Result<(), PathError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(PathError::new(
                whole,
                "leads through more than 40 symbolic links",
            ));
        }
        if target.first() == Some(&b'/') {
            self.stack.truncate(1);
        }
        for part in target.split(|byte| *byte == b'/').rev() {
            self.left.push_front(part.to_vec());
        }
        Ok(())
    }
}

/// Refuses a place that a file system could not have.
fn check_place(whole: &[u8], depth: usize, bytes: usize, name: &[u8]) -> Result<(), PathError> {
    if name.len() > NAME_MAX {
        return Err(PathError::new(
            whole,
            format!("a name is longer than {NAME_MAX} bytes"),
        ));
    }
    if depth > DEPTH_MAX {
        return Err(PathError::new(
            whole,
            format!("is deeper than {DEPTH_MAX} directories"),
        ));
    }
    if bytes > PATH_MAX {
        return Err(PathError::new(
            whole,
            format!("is longer than {PATH_MAX} bytes"),
        ));
    }
    Ok(())
}
