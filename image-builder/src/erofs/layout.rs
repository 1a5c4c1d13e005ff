//! Decides where every inode and every block of data goes.
//!
//! Metadata comes first, beginning behind the superblock, then data. Inodes
//! take their numbers from their place, so directories can be encoded only
//! when all inodes have one; sizes of directories depend on names alone, so
//! one pass is enough.

use std::collections::{BTreeMap, HashMap};

use orlop_images::tree::{Content, Entries, Kind, NodeId, Tree};
use sha2::{Digest, Sha256};

use super::dirents;
use super::ondisk::{FIRST_INODE, Placement, SLOT, encode_xattrs, inode_size, is_compact};
use super::read_content::for_each_piece;
use super::{BLOCK, ErofsError, Volume};

/// A volume that is laid out and only needs to be written.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) volume: Volume,
    pub(super) inodes: BTreeMap<NodeId, Planned>,
    pub(super) root_nid: u16,
    /// Inodes whose blocks are written (others share them), in block order.
    pub(super) data: Vec<NodeId>,
    pub(super) blocks: u32,
    pub(super) meta_blocks: u64,
}

/// One inode that has its place.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) place: Placement,
    pub(super) xattrs: Vec<u8>,
    pub(super) parent: NodeId,
}

impl Plan<'_> {
    /// Bytes of the volume, a multiple of [`BLOCK`].
    pub fn size(&self) -> u64 {
        u64::from(self.blocks) * BLOCK
    }

    /// Number of inodes in the volume.
    pub fn inodes(&self) -> u64 {
        self.inodes.len() as u64
    }
}

/// Lays out `tree`. Contents are read here once, to store equal ones once.
///
/// # Errors
/// Unreadable contents and what EROFS cannot hold.
pub fn plan<'a>(tree: &'a Tree, volume: &Volume) -> Result<Plan<'a>, ErofsError> {
    let walk = walk(tree);
    let mut plan = Plan {
        tree,
        volume: volume.clone(),
        inodes: BTreeMap::new(),
        root_nid: 0,
        data: Vec::new(),
        blocks: 0,
        meta_blocks: 0,
    };
    let mut meta = Meta::default();
    for &id in &walk.order {
        let inode = tree.node(id);
        let xattrs = encode_xattrs(&inode.meta.xattrs)?;
        let size = data_size(&inode.kind);
        let (parent, links) = walk.found.get(&id).copied().unwrap_or((id, 1));
        let head = inode_size(is_compact(inode, size, links, volume)) + xattrs.len() as u64;
        let tail = size % BLOCK;
        // The tail may not cross a block; head and tail that share one never do.
        let inline_tail = tail != 0 && head + tail <= BLOCK;
        let offset = meta.place(head + if inline_tail { tail } else { 0 });
        let place = Placement {
            offset,
            size,
            block: 0,
            inline_tail,
            links,
        };
        if id == tree.root() {
            plan.root_nid = u16::try_from(place.nid())
                .map_err(|_| ErofsError::TooLarge("the root directory's number is over 65535"))?;
        }
        plan.inodes.insert(
            id,
            Planned {
                place,
                xattrs,
                parent,
            },
        );
    }
    plan.meta_blocks = meta.blocks;
    place_data(&mut plan, &walk.order)?;
    Ok(plan)
}

/// Gives every inode with data outside of its metadata its blocks.
fn place_data(plan: &mut Plan<'_>, order: &[NodeId]) -> Result<(), ErofsError> {
    let mut next = plan.meta_blocks;
    let mut seen: HashMap<([u8; 32], u64), u32> = HashMap::new();
    for &id in order {
        let Some(place) = plan.inodes.get_mut(&id).map(|planned| &mut planned.place) else {
            continue;
        };
        let outside = outside(place);
        if outside == 0 {
            continue;
        }
        let block = u32::try_from(next).map_err(|_| ErofsError::TooLarge("over 16 TiB"))?;
        if let Kind::File(content) = &plan.tree.node(id).kind {
            let key = (digest(content, outside)?, outside);
            if let Some(&shared) = seen.get(&key) {
                place.block = shared;
                continue;
            }
            seen.insert(key, block);
        }
        place.block = block;
        plan.data.push(id);
        next += outside.div_ceil(BLOCK);
    }
    plan.blocks = u32::try_from(next).map_err(|_| ErofsError::TooLarge("over 16 TiB"))?;
    Ok(())
}

/// Bytes of an inode's data that are in blocks of their own.
pub(super) fn outside(place: &Placement) -> u64 {
    if place.inline_tail {
        place.size - place.size % BLOCK
    } else {
        place.size
    }
}

fn digest(content: &Content, len: u64) -> Result<[u8; 32], ErofsError> {
    let mut hash = Sha256::new();
    for_each_piece(content, 0, len, |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok(hash.finalize().into())
}

fn data_size(kind: &Kind) -> u64 {
    match kind {
        Kind::Dir(children) => {
            let lens: Vec<usize> = names(children).iter().map(|(name, _)| name.len()).collect();
            dirents::size(&lens)
        }
        Kind::File(content) => content.len(),
        Kind::Symlink(target) => target.len() as u64,
        Kind::Char(_) | Kind::Block(_) | Kind::Fifo => 0,
    }
}

/// Names of a directory in disk order; `None` stands for `.` and `..`.
pub(super) fn names(children: &Entries) -> Vec<(&[u8], Option<NodeId>)> {
    let mut names: Vec<(&[u8], Option<NodeId>)> = vec![(b".", None), (b"..", None)];
    names.extend(children.iter().map(|(name, id)| (name, Some(id))));
    names.sort();
    names
}

/// What a walk from the root finds.
struct Walk {
    order: Vec<NodeId>,
    /// First directory that names the inode, and its number of links.
    found: HashMap<NodeId, (NodeId, u32)>,
}

/// Reaches every inode once, directory by directory; what no name leads to is
/// left out.
fn walk(tree: &Tree) -> Walk {
    let root = tree.root();
    let mut walk = Walk {
        order: vec![root],
        found: HashMap::from([(root, (root, 2))]),
    };
    let mut at = 0;
    while at < walk.order.len() {
        let id = walk.order[at];
        at += 1;
        let Some(children) = tree.node(id).entries() else {
            continue;
        };
        let mut directories = 0;
        for (_, child) in children.iter() {
            let is_directory = tree.node(child).is_dir();
            // A directory has its name and its own `.`; each below adds a `..`.
            let own = if is_directory { 2 } else { 1 };
            directories += u32::from(is_directory);
            match walk.found.get_mut(&child) {
                Some((_, links)) => *links += 1,
                None => {
                    walk.order.push(child);
                    walk.found.insert(child, (id, own));
                }
            }
        }
        if let Some((_, links)) = walk.found.get_mut(&id) {
            *links += directories;
        }
    }
    walk
}

/// Blocks of metadata with room left, so that inodes with inline tails of all
/// sizes pack well.
struct Meta {
    blocks: u64,
    /// Room left -> where it starts. Bounded: the fullest is given up first.
    open: BTreeMap<u64, Vec<u64>>,
    open_count: usize,
}

impl Default for Meta {
    fn default() -> Meta {
        let open = BTreeMap::from([(BLOCK - FIRST_INODE, vec![FIRST_INODE])]);
        Meta {
            blocks: 1,
            open,
            open_count: 1,
        }
    }
}

impl Meta {
    const OPEN_MAX: usize = 256;

    /// Finds room for `len` bytes in one block (or from the start of one, if
    /// they need more than a block).
    fn place(&mut self, len: u64) -> u64 {
        let len = len.next_multiple_of(SLOT);
        let fitting = self.open.range(len..).next().map(|(room, _)| *room);
        let (start, room) = match fitting.and_then(|room| Some((self.take(room)?, room))) {
            Some(found) => found,
            None => {
                let start = self.blocks * BLOCK;
                self.blocks += len.div_ceil(BLOCK);
                (start, len.next_multiple_of(BLOCK))
            }
        };
        self.give(room - len, start + len);
        start
    }

    fn take(&mut self, room: u64) -> Option<u64> {
        let starts = self.open.get_mut(&room)?;
        let start = starts.pop();
        if starts.is_empty() {
            self.open.remove(&room);
        }
        self.open_count -= 1;
        start
    }

    fn give(&mut self, room: u64, start: u64) {
        if room < SLOT {
            return;
        }
        self.open.entry(room).or_default().push(start);
        self.open_count += 1;
        if self.open_count > Meta::OPEN_MAX
            && let Some(least) = self.open.keys().next().copied()
        {
            self.take(least);
        }
    }
}
