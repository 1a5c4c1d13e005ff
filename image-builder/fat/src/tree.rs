//! All directories and files, and which clusters they lead to.

use std::collections::{BTreeMap, HashSet};

use crate::chain::{Chain, Fault};
use crate::directory::{Entry, Place};
use crate::error::FatError;
use crate::geometry::Root;
use crate::source::ReadAt;
use crate::table::Link;
use crate::volume::Volume;

/// The most files and directories; a boot partition has some dozens.
const ENTRIES_MAX: usize = 65536;
/// How often the walk may go over all clusters of the volume: a sound one takes it over each once.
const ROUNDS_MAX: usize = 4;

/// How many entries lead to each cluster.
#[derive(Debug)]
struct Uses(Vec<u8>);

impl Uses {
    fn change(&mut self, clusters: &[u32], by: impl Fn(u8) -> u8) {
        for cluster in clusters {
            if let Some(count) = self.0.get_mut(*cluster as usize) {
                *count = by(*count);
            }
        }
    }

    fn add(&mut self, clusters: &[u32]) {
        self.change(clusters, |count| count.saturating_add(1));
    }

    /// A count that was too large to be kept stays so.
    fn take(&mut self, clusters: &[u32]) {
        self.change(clusters, |count| match count {
            u8::MAX => u8::MAX,
            count => count.saturating_sub(1),
        });
    }

    fn of(&self, cluster: u32) -> u8 {
        self.0.get(cluster as usize).copied().unwrap_or_default()
    }

    fn shared(&self, clusters: &[u32]) -> bool {
        clusters.iter().any(|cluster| self.of(*cluster) > 1)
    }
}

/// What a walk through all directories has found.
#[derive(Debug)]
pub(crate) struct Tree {
    uses: Uses,
    /// Files whose clusters lead astray, by their keys.
    astray: BTreeMap<u64, FatError>,
    /// The first clusters of the directories that were entered.
    directories: HashSet<u32>,
    entries: usize,
    clusters: usize,
}

impl Tree {
    /// Walks from the root, as Linux sees it, which would free what it sees an entry lead to;
    /// without the entries whose keys are `dropped`. It ends: a directory that
    /// is met a second time is an error.
    pub(crate) fn walk<S: ReadAt>(
        volume: &Volume<S>,
        dropped: &HashSet<u64>,
    ) -> Result<Tree, FatError> {
        let geometry = volume.geometry();
        let mut tree = Tree {
            uses: Uses(vec![0; geometry.end() as usize]),
            astray: BTreeMap::new(),
            directories: HashSet::new(),
            entries: 0,
            clusters: 0,
        };
        let mut left = vec![(Place::Root, "/".to_owned())];
        while let Some((place, name)) = left.pop() {
            tree.enter(volume, place, &name)?;
            for entry in volume.list(place, &name)?.entries {
                tree.entries += 1;
                if tree.entries > ENTRIES_MAX {
                    return Err(FatError::TooMany {
                        name,
                        what: "entries below it or beside it",
                        limit: ENTRIES_MAX,
                    });
                }
                if dropped.contains(&entry.key()) {
                    continue;
                }
                if entry.is_directory {
                    left.push((entry.place(), entry.name));
                } else {
                    tree.file(volume, &entry)?;
                }
            }
        }
        Ok(tree)
    }

    fn enter<S: ReadAt>(
        &mut self,
        volume: &Volume<S>,
        place: Place,
        name: &str,
    ) -> Result<(), FatError> {
        let first = match (place, volume.geometry().root) {
            (Place::Root, Root::Fixed { .. }) => return Ok(()),
            (Place::Root, Root::Chain(first)) | (Place::Cluster(first), _) => first,
        };
        let clusters = volume.follow(first)?.whole(name)?;
        self.count(volume, name, &clusters)?;
        // A renamed directory's new name may have no cluster yet; it is empty.
        match first == 0 || self.directories.insert(first) {
            true => Ok(()),
            false => Err(FatError::Chain {
                name: name.to_owned(),
                cluster: first,
                fault: Fault::Shared,
            }),
        }
    }

    fn file<S: ReadAt>(&mut self, volume: &Volume<S>, entry: &Entry) -> Result<(), FatError> {
        let chain = volume.follow(entry.first_cluster)?;
        self.count(volume, &entry.name, &once(&chain))?;
        if let Err(error) = chain.whole(&entry.name) {
            self.astray.insert(entry.key(), error);
        }
        Ok(())
    }

    fn count<S: ReadAt>(
        &mut self,
        volume: &Volume<S>,
        name: &str,
        clusters: &[u32],
    ) -> Result<(), FatError> {
        self.uses.add(clusters);
        self.clusters += clusters.len();
        let limit = ROUNDS_MAX * volume.geometry().clusters as usize;
        if self.clusters <= limit {
            return Ok(());
        }
        Err(FatError::TooMany {
            name: name.to_owned(),
            what: "clusters, with those that other files have too,",
            limit,
        })
    }

    /// Takes out those of `entries` that lead astray or share a cluster, where `give_up` allows it.
    ///
    /// From the last to the first, as they are removed on the disk: so whoever begins again after
    /// some of it comes to the same.
    pub(crate) fn give_up<'e, S: ReadAt>(
        &mut self,
        volume: &Volume<S>,
        entries: &[&'e Entry],
        give_up: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<&'e Entry>, FatError> {
        let mut torn = Vec::new();
        for entry in entries.iter().rev().filter(|entry| !entry.is_directory) {
            let clusters = once(&volume.follow(entry.first_cluster)?);
            let damaged = self.astray.contains_key(&entry.key()) || self.uses.shared(&clusters);
            if damaged && give_up(entry) {
                self.astray.remove(&entry.key());
                self.uses.take(&clusters);
                torn.push(*entry);
            }
        }
        torn.reverse();
        Ok(torn)
    }

    /// The clusters that are in use by the table and that nothing leads to.
    ///
    /// # Errors
    /// What makes it doubtful that nothing leads to them.
    pub(crate) fn lost<S: ReadAt>(self, volume: &Volume<S>) -> Result<Vec<u32>, FatError> {
        if let Some(error) = self.astray.into_values().next() {
            return Err(error);
        }
        let mut table = volume.table();
        let mut lost = Vec::new();
        for cluster in 2..volume.geometry().end() {
            match self.uses.of(cluster) {
                0 => match table.link(cluster)? {
                    Link::Free | Link::Bad => {}
                    Link::Next(_) | Link::Last | Link::Outside => lost.push(cluster),
                },
                1 => {}
                _ => {
                    return Err(FatError::Chain {
                        name: "two files".to_owned(),
                        cluster,
                        fault: Fault::Shared,
                    });
                }
            }
        }
        Ok(lost)
    }
}

/// The clusters of a chain, each once also if it loops.
fn once(chain: &Chain) -> Vec<u32> {
    let mut clusters = chain.clusters.clone();
    clusters.sort_unstable();
    clusters.dedup();
    clusters
}
