//! Going through a tree in the order of the names' bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Node, NodeId, Tree};

/// One name in a tree.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Path from the root without a leading `/`; the root's own is empty.
    pub path: Vec<u8>,
    /// The inode's number: two entries with the same are hard links.
    pub id: NodeId,
    /// The inode.
    pub node: &'a Node,
}

/// Walks a tree: a directory before its entries, entries in order.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    /// What is still to come, the next one last.
    left: Vec<(Vec<u8>, NodeId)>,
}

impl Tree {
    /// Every name in the tree, the root first.
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            tree: self,
            left: vec![(Vec::new(), self.root())],
        }
    }

    /// Number of names that each inode other than a directory has.
    pub fn link_counts(&self) -> BTreeMap<NodeId, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.walk().filter(|entry| !entry.node.is_dir()) {
            let count: &mut u32 = counts.entry(entry.id).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// Bytes of all regular files, each inode counted once.
    pub fn content_bytes(&self) -> u64 {
        self.sum(|node| match &node.kind {
            Kind::File(content) => content.len(),
            Kind::Dir(_) | Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => 0,
        })
    }

    /// Bytes that a file system of 4 KiB blocks needs at most for this tree,
    /// its inodes and directories included.
    pub fn disk_bytes(&self) -> u64 {
        const BLOCK: u64 = 4096;
        const INODE: u64 = 256;
        self.sum(|node| {
            let data = match &node.kind {
                Kind::File(content) => content.len(),
                // An entry is its name and 8 bytes, in blocks at worst half full.
                Kind::Dir(entries) => {
                    let names: u64 = entries.iter().map(|(name, _)| name.len() as u64 + 12).sum();
                    names.saturating_mul(2).max(1)
                }
                Kind::Symlink(target) if target.len() >= 60 => BLOCK,
                Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => 0,
            };
            let xattrs: u64 = node
                .meta
                .xattrs
                .iter()
                .map(|(name, value)| (name.len() + value.len()) as u64)
                .sum();
            let blocks = data.div_ceil(BLOCK) + xattrs.div_ceil(BLOCK);
            blocks.saturating_mul(BLOCK).saturating_add(INODE)
        })
    }

    /// A sum over inodes that have a name.
    fn sum(&self, measure: impl Fn(&Node) -> u64) -> u64 {
        let mut seen = BTreeSet::new();
        self.walk()
            .filter(|entry| seen.insert(entry.id))
            .fold(0, |sum: u64, entry| sum.saturating_add(measure(entry.node)))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, id) = self.left.pop()?;
        let node = self.tree.node(id);
        if let Some(entries) = node.entries() {
            for (name, child) in entries.iter().rev() {
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name);
                self.left.push((below, child));
            }
        }
        Some(Entry { path, id, node })
    }
}
