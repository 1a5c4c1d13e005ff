//! Putting a whole tree into another.

use std::collections::BTreeMap;

use super::resolve::split;
use super::{Kind, Node, NodeId, PathError, Tree};

impl Tree {
    /// Puts all of `other` at `path`: its root becomes the directory there,
    /// and where both trees have a name, `other` replaces it as
    /// [`Tree::put`] would. Hard links of `other` stay one inode.
    ///
    /// # Errors
    /// As [`Tree::put`], for any of the entries.
    pub fn graft(&mut self, path: &[u8], other: &Self) -> Result<(), PathError> {
        let base = split(path)?.join(&b'/');
        let mut known: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
        for entry in other.walk() {
            let mut full = base.clone();
            if !entry.path.is_empty() {
                full.push(b'/');
                full.extend_from_slice(&entry.path);
            }
            if let Some(first) = known.get(&entry.id) {
                self.link(&full, first)?;
                continue;
            }
            let node = match &entry.node.kind {
                Kind::Dir(_) => Node::dir(entry.node.meta.clone()),
                Kind::File(_) | Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => {
                    entry.node.clone()
                }
            };
            let is_dir = node.is_dir();
            self.put(&full, node)?;
            if !is_dir {
                known.insert(entry.id, full);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Meta};

    #[test]
    fn a_grafted_tree_keeps_its_links_and_the_rest_of_the_host_tree() {
        let mut part = Tree::new();
        let file = Node::file(Meta::with_mode(0o644), Content::from_bytes(*b"x"));
        part.put(b"bin/a", file).unwrap();
        part.link(b"bin/b", b"bin/a").unwrap();
        let mut whole = Tree::new();
        whole.put(b"images/other", Node::symlink("x")).unwrap();
        whole.graft(b"/images/abc/rootfs", &part).unwrap();
        let id = whole.lookup(b"images/abc/rootfs/bin/a");
        assert!(id.is_some());
        assert_eq!(id, whole.lookup(b"images/abc/rootfs/bin/b"));
        assert!(whole.lookup(b"images/other").is_some());
    }
}
