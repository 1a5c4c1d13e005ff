//! Changing a tree by path.
//!
//! The directory part of a path is resolved inside the tree; the last name
//! never is, so an entry replaces a link and is not written through it.

use super::resolve::{Missing, Place, split};
use super::{Entries, Kind, Node, NodeId, PATH_MAX, PathError, Tree};

impl Tree {
    /// Puts `node` at `path`, makes the directories that lead there (0755,
    /// 0:0) and replaces what is there. A directory put on a directory keeps
    /// the entries and takes the new owner, mode, time and attributes. The
    /// empty path is the root, which stays a directory.
    ///
    /// # Errors
    /// A path with `..` or NUL, one that leads through a file or through more
    /// than 40 links, one too long or too deep, a directory with entries.
    pub fn put(&mut self, path: &[u8], node: Node) -> Result<NodeId, PathError> {
        check_node(path, &node)?;
        let names = split(path)?;
        let Some((name, parents)) = names.split_last() else {
            return self.put_root(path, node);
        };
        let place = self.make_dirs(path, parents)?;
        place.check(name, path)?;
        let there = self.child(place.dir, name);
        if let (Some(there), true) = (there, node.is_dir())
            && self.node(there).is_dir()
        {
            self.node_mut(there).meta = node.meta;
            return Ok(there);
        }
        let id = self.push(node)?;
        self.name(place.dir, name, id);
        Ok(id)
    }

    /// Gives the file at `target` a further name, `path`. The target's own
    /// last name is not followed if it is a link.
    ///
    /// # Errors
    /// As [`Tree::put`]; and a target that is not there or is a directory.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<NodeId, PathError> {
        let target_names = split(target)?;
        let found = match target_names.split_last() {
            None => Some(self.root()),
            Some((name, parents)) => self
                .resolve_dir(parents, Missing::Stop, &|_| false)?
                .and_then(|place| self.child(place.dir, name)),
        };
        let shown = String::from_utf8_lossy(target);
        let Some(id) = found else {
            let why = format!("is a hard link to {shown:?}, which is not there");
            return Err(PathError::new(path, why));
        };
        if self.node(id).is_dir() {
            let why = format!("is a hard link to {shown:?}, which is a directory");
            return Err(PathError::new(path, why));
        }
        let names = split(path)?;
        let Some((name, parents)) = names.split_last() else {
            return Err(PathError::new(path, "the root cannot be a hard link"));
        };
        let place = self.make_dirs(path, parents)?;
        place.check(name, path)?;
        self.name(place.dir, name, id);
        Ok(id)
    }

    /// Takes away the entry at `path`, with all below it. Nothing happens if
    /// it is not there, or if a link for which `is_gone` leads to it.
    pub(crate) fn remove_unless(&mut self, path: &[u8], is_gone: &dyn Fn(NodeId) -> bool) {
        let Ok(names) = split(path) else { return };
        let Some((name, parents)) = names.split_last() else {
            return;
        };
        if let Ok(Some(place)) = self.resolve_dir(parents, Missing::Stop, is_gone)
            && let Some(entries) = self.entries_mut(place.dir)
        {
            entries.remove(*name);
        }
    }

    /// Takes away the entry at `path`, with all below it. Nothing happens if
    /// it is not there.
    pub fn remove(&mut self, path: &[u8]) {
        self.remove_unless(path, &|_| false);
    }

    /// Empties the directory at `path`, itself reached through links unless
    /// `is_gone` says so of one. Nothing happens if it is no directory.
    pub(crate) fn clear_unless(&mut self, path: &[u8], is_gone: &dyn Fn(NodeId) -> bool) {
        let Ok(names) = split(path) else { return };
        if let Ok(Some(place)) = self.resolve_dir(&names, Missing::Stop, is_gone)
            && let Some(entries) = self.entries_mut(place.dir)
        {
            entries.clear();
        }
    }

    /// The symbolic link that is the entry at `path` itself.
    pub(crate) fn link_at(&mut self, path: &[u8]) -> Option<NodeId> {
        let names = split(path).ok()?;
        let (name, parents) = names.split_last()?;
        let place = self
            .resolve_dir(parents, Missing::Stop, &|_| false)
            .ok()??;
        let id = self.child(place.dir, name)?;
        matches!(self.node(id).kind, Kind::Symlink(_)).then_some(id)
    }

    /// Takes device nodes out and gives their paths: an image's devices are
    /// the runtime's to make, and one that lay in an image's directory would
    /// open the host's hardware to whoever may read the file.
    pub fn take_devices(&mut self) -> Vec<Vec<u8>> {
        let is_device = |node: &Node| matches!(node.kind, Kind::Char(_) | Kind::Block(_));
        let found: Vec<_> = self
            .walk()
            .filter(|entry| is_device(entry.node))
            .map(|entry| entry.path)
            .collect();
        for path in &found {
            self.remove(path);
        }
        found
    }

    /// The directory that `parents` name, made where it is missing.
    pub(super) fn make_dirs(&mut self, path: &[u8], parents: &[&[u8]]) -> Result<Place, PathError> {
        self.resolve_dir(parents, Missing::Make, &|_| false)?
            .ok_or_else(|| PathError::new(path, "its directory could not be made"))
    }

    /// The entry of that name in a directory.
    fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(dir).entries()?.get(name)
    }

    /// Sets an entry of a directory.
    pub(super) fn name(&mut self, dir: NodeId, name: &[u8], id: NodeId) {
        if let Some(entries) = self.entries_mut(dir) {
            entries.insert(name.to_vec(), id);
        }
    }

    fn put_root(&mut self, path: &[u8], node: Node) -> Result<NodeId, PathError> {
        if !node.is_dir() {
            return Err(PathError::new(path, "the root must be a directory"));
        }
        let root = self.root();
        self.node_mut(root).meta = node.meta;
        Ok(root)
    }
}

/// Refuses an inode that no file system could hold.
fn check_node(path: &[u8], node: &Node) -> Result<(), PathError> {
    match &node.kind {
        Kind::Dir(Entries(entries)) if !entries.is_empty() => Err(PathError::new(
            path,
            "a directory is put empty; use graft for a whole tree",
        )),
        Kind::Symlink(target) if target.is_empty() => {
            Err(PathError::new(path, "is a symbolic link to nothing"))
        }
        Kind::Symlink(target) if target.len() > PATH_MAX || target.contains(&0) => {
            let why =
                format!("is a symbolic link whose target is over {PATH_MAX} bytes or has NUL");
            Err(PathError::new(path, why))
        }
        Kind::Dir(_)
        | Kind::File(_)
        | Kind::Symlink(_)
        | Kind::Char(_)
        | Kind::Block(_)
        | Kind::Fifo => Ok(()),
    }
}
