//! What a power cut leaves behind and Linux's vfat does not mend.
//!
//! | left behind                   | by                                  | what vfat would make of it     |
//! |-------------------------------|-------------------------------------|--------------------------------|
//! | two names, the same clusters  | a rename: the new name is written,  | removing one frees the other's |
//! |                               | and the old one not yet removed     | clusters                       |
//! | a file that leads astray      | a file being written: its entry was | removing it sets the volume    |
//! |                               | written before the table            | read-only                      |
//! | clusters that nothing leads to| a removal, a file being written     | the room is never given back   |
//!
//! Not mended, as they do no harm: slots of long names without an 8.3 name, a file without content
//! under the new name of a rename (the old name is there, too), more clusters than a size needs,
//! entries that only Linux sees. Other tables than the first are made like it only where it changes.

use std::collections::{BTreeMap, HashSet};

use crate::directory::{Entry, Listing};
use crate::error::FatError;
use crate::plan::Mend;
use crate::source::ReadAt;
use crate::tree::Tree;
use crate::volume::Volume;

/// Plans what mends a volume; writes nothing.
///
/// Entries of `directory` that begin with the same cluster are twins: `keep` says by its index which
/// one stays, and the others lose their slots. Names may be 8.3 names. Whichever it keeps of some it
/// has to keep of fewer, so that mending anew comes to the same. Where firmware sees some of them,
/// those that only Linux sees are dropped unasked.
///
/// Files of `directory` that lead astray, or to another file's cluster, are removed if `give_up`
/// says so, as it may of a file that was being written.
///
/// Then clusters that no entry of the whole tree leads to are freed in all allocation tables. If
/// anything in the tree is amiss, none is freed, and [`Mend::problem`] says what it is.
///
/// # Errors
/// A `directory` that cannot be read; the source's.
pub fn mend<S: ReadAt>(
    volume: &Volume<S>,
    directory: &str,
    keep: impl Fn(&[&Entry]) -> usize,
    give_up: impl Fn(&Entry) -> bool,
) -> Result<Mend, FatError> {
    let (place, name) = volume.locate(directory)?;
    let listing = volume.list(place, &name)?;
    let entries = &listing.entries;
    let twins = twins(&listing, keep);
    let is_twin = |entry: &Entry| twins.contains(&entry.key());
    let rest: Vec<&Entry> = entries.iter().filter(|entry| !is_twin(entry)).collect();
    let mut torn = Vec::new();
    let lost = Tree::walk(volume, &twins).and_then(|mut tree| {
        torn = tree.give_up(volume, &rest, give_up)?;
        tree.lost(volume)
    });
    let (lost, problem) = match lost {
        Ok(lost) => (lost, None),
        Err(error) => (
            Vec::new(),
            Some(format!("no lost clusters are freed: {error}")),
        ),
    };
    let torn: HashSet<u64> = torn.iter().map(|entry| entry.key()).collect();
    let is_torn = |entry: &Entry| torn.contains(&entry.key());
    let drops = |entry: &&Entry| is_twin(entry) || is_torn(entry);
    let dropped: Vec<&Entry> = entries.iter().filter(drops).collect();
    let mut stages = volume.removals(&dropped)?;
    stages.extend(volume.frees(&lost)?);
    let names = |which: &dyn Fn(&Entry) -> bool| {
        let entries = dropped.iter().filter(|entry| which(entry));
        entries.map(|entry| entry.name.clone()).collect()
    };
    Ok(Mend {
        stages,
        twins: names(&is_twin),
        torn: names(&is_torn),
        lost_clusters: u32::try_from(lost.len()).unwrap_or(u32::MAX),
        problem,
    })
}

/// The keys of those that give way to a twin.
fn twins(listing: &Listing, keep: impl Fn(&[&Entry]) -> usize) -> HashSet<u64> {
    let mut groups: BTreeMap<u32, [Vec<&Entry>; 2]> = BTreeMap::new();
    for (index, entry) in listing.entries.iter().enumerate() {
        if entry.first_cluster != 0 {
            let [seen, hidden] = groups.entry(entry.first_cluster).or_default();
            let group = if index < listing.seen { seen } else { hidden };
            group.push(entry);
        }
    }
    let mut dropped = HashSet::new();
    for [seen, hidden] in groups.values() {
        let (group, others) = if seen.is_empty() {
            (hidden, seen)
        } else {
            (seen, hidden)
        };
        let kept = match group.len() {
            0 | 1 => 0,
            count => keep(group).min(count - 1),
        };
        let rest = group.iter().enumerate().filter(|(index, _)| *index != kept);
        dropped.extend(rest.map(|(_, entry)| entry.key()));
        dropped.extend(others.iter().map(|entry| entry.key()));
    }
    dropped
}
