//! Putting a layer over the tree of those below it.
//!
//! Whiteouts and opaque marks speak of lower layers only, wherever they stand
//! in the archive; so they all go first, and then everything else in the
//! archive's order.

use std::collections::BTreeSet;

use super::{Action, Change};
use crate::tree::{NodeId, PathError, Tree};

/// Applies a layer's changes.
///
/// # Errors
/// A path that cannot be in the tree, a hard link to nothing. The tree is then
/// half changed and of no use.
pub(crate) fn apply(tree: &mut Tree, changes: Vec<Change>) -> Result<(), PathError> {
    let is_mark = |change: &Change| matches!(change.action, Action::Whiteout | Action::Opaque);
    if changes.iter().any(is_mark) {
        // Where the layer itself replaces a link, a whiteout below that path
        // means the layer's directory, not what the link led to.
        let replaced: BTreeSet<NodeId> = changes
            .iter()
            .filter(|change| !is_mark(change))
            .filter_map(|change| tree.link_at(&change.path))
            .collect();
        let is_gone = |id| replaced.contains(&id);
        for Change { path, action } in &changes {
            match action {
                Action::Whiteout => tree.remove_unless(path, &is_gone),
                Action::Opaque => tree.clear_unless(path, &is_gone),
                Action::Put(_) | Action::Link(_) => {}
            }
        }
    }
    for Change { path, action } in changes {
        match action {
            Action::Whiteout | Action::Opaque => {}
            Action::Put(node) => {
                tree.put(&path, node)?;
            }
            Action::Link(target) => {
                tree.link(&path, &target)?;
            }
        }
    }
    Ok(())
}
