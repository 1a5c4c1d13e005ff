//! The clusters of a file, one after the other.

use std::fmt;

use crate::error::FatError;
use crate::source::ReadAt;
use crate::table::Link;
use crate::volume::Volume;

/// Where a chain leads astray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// To a cluster that the table has as free. Linux sets the volume read-only when such a file is
    /// removed.
    Free,
    /// To a cluster that is marked bad.
    Bad,
    /// To a number that no cluster has.
    Outside,
    /// Back to one of its own clusters.
    Loop,
    /// To a cluster of another file or directory.
    Shared,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Free => "is free in the allocation table",
            Fault::Bad => "is marked bad in the allocation table",
            Fault::Outside => "or the one after it is not on the volume",
            Fault::Loop => "leads back to an earlier one",
            Fault::Shared => "belongs to another file or directory, too",
        })
    }
}

/// A chain as far as it goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The clusters in their order; some more than once if it loops.
    pub(crate) clusters: Vec<u32>,
    /// What ends it before its end, and at which cluster.
    pub(crate) fault: Option<(u32, Fault)>,
}

impl Chain {
    /// The clusters, if nothing is wrong with them.
    pub(crate) fn whole(self, name: &str) -> Result<Vec<u32>, FatError> {
        match self.fault {
            None => Ok(self.clusters),
            Some((cluster, fault)) => Err(FatError::Chain {
                name: name.to_owned(),
                cluster,
                fault,
            }),
        }
    }
}

impl<S: ReadAt> Volume<S> {
    /// The chain that begins with `first`; none if that is 0.
    ///
    /// Both EDK2 and Linux read as far as a file's size says and never see what the table has of its
    /// last cluster; here that counts, too, as the cluster may be given to another file.
    pub(crate) fn follow(&self, first: u32) -> Result<Chain, FatError> {
        let mut chain = Chain::default();
        if first == 0 {
            return Ok(chain);
        }
        if !self.geometry().has(first) {
            chain.fault = Some((first, Fault::Outside));
            return Ok(chain);
        }
        let mut table = self.table();
        // A loop comes back to a mark that is set at the first, second, fourth, eighth cluster.
        let (mut mark, mut steps, mut power) = (first, 0u64, 1u64);
        let mut cluster = first;
        loop {
            chain.clusters.push(cluster);
            let fault = match table.link(cluster)? {
                Link::Last => return Ok(chain),
                Link::Next(next) if next == mark => Fault::Loop,
                Link::Next(next) => {
                    steps += 1;
                    if steps == power {
                        (mark, steps, power) = (next, 0, power * 2);
                    }
                    cluster = next;
                    continue;
                }
                Link::Free => Fault::Free,
                Link::Bad => Fault::Bad,
                Link::Outside => Fault::Outside,
            };
            chain.fault = Some((cluster, fault));
            return Ok(chain);
        }
    }
}
