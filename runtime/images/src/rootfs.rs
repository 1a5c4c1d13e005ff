//! A file tree out of a plain tar archive, as `docker export`, mmdebstrap or
//! `tar` make it: read as the only layer of an image would be.

use std::fs::File;
use std::path::Path;

use crate::layer::{Budget, Capped, apply, decoder, read_layer};
use crate::source::Options;
use crate::spool::Spool;
use crate::tree::Tree;
use crate::{Error, Result};

/// Reads the archive at `path` (tar, plain or compressed with gzip or zstd).
/// Gives the tree, devices included, and notes on what was left out.
///
/// # Errors
/// A file that is no archive, a path that cannot be in a tree, an archive over
/// the limits, no space for temporary files.
pub fn read(path: &Path, options: &Options) -> Result<(Tree, Vec<String>)> {
    let what = path.display().to_string();
    let file = File::open(path).map_err(|error| Error::io(format!("open {what}"), error))?;
    let mut spool = Spool::new_in(&options.spool_dir)?;
    let mut budget = Budget::new(&options.limits);
    let mut left = budget.unpacked_bytes;
    let inner = decoder(file).map_err(|error| budget.read_error(&what, error))?;
    let plain = Capped {
        inner,
        left: &mut left,
    };
    let changes = read_layer(plain, &what, &mut spool, &mut budget)?;
    let mut tree = Tree::bounded(options.limits.entries);
    apply(&mut tree, changes).map_err(|error| Error::invalid(what, error.to_string()))?;
    Ok((tree, budget.notes))
}
