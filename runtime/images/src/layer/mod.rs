//! Layers: what their archive members mean, and how one goes over another
//! (image-spec 1.1, layer.md, "Representing Changes" and "Applying Changesets").

mod decode;
mod merge;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Capped, decoder};
pub(crate) use merge::apply;
pub(crate) use read::{Budget, read_layer};

use crate::tree::Node;

/// What one archive member does to the tree.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Path in the tree.
    pub(crate) path: Vec<u8>,
    /// What to do there.
    pub(crate) action: Action,
}

/// See [`Change`].
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Take away what lower layers have at the path.
    Whiteout,
    /// Take away what lower layers have in the directory at the path.
    Opaque,
    /// Put an inode at the path.
    Put(Node),
    /// Make the path a further name of that file.
    Link(Vec<u8>),
}
