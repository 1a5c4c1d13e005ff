//! Who waits for whom: an order, and the cycles that forbid one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::UnitName;

/// Each unit with the ones that it waits for, all of which are units of the graph.
pub(super) struct Graph(BTreeMap<UnitName, BTreeSet<UnitName>>);

impl Graph {
    pub(super) fn new(edges: BTreeMap<UnitName, BTreeSet<UnitName>>) -> Self {
        Self(edges)
    }

    /// Every unit that is on no cycle and behind none, after all that it waits for; of several
    /// that could come next, the first by name.
    pub(super) fn order(&self) -> Vec<UnitName> {
        let mut missing: BTreeMap<&UnitName, usize> = self
            .0
            .iter()
            .map(|(name, waits)| (name, waits.len()))
            .collect();
        let mut waiting: BTreeMap<&UnitName, Vec<&UnitName>> = BTreeMap::new();
        for (name, waits) in &self.0 {
            for other in waits {
                waiting.entry(other).or_default().push(name);
            }
        }
        let free = missing.iter().filter(|(_, count)| **count == 0);
        let mut ready: BTreeSet<&UnitName> = free.map(|(name, _)| *name).collect();
        let mut order = Vec::with_capacity(self.0.len());
        while let Some(name) = ready.pop_first() {
            order.push(name.clone());
            for other in waiting.get(name).into_iter().flatten() {
                if let Some(count) = missing.get_mut(other) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(other);
                    }
                }
            }
        }
        order
    }

    /// The shortest cycle through `start`, begun at its first name, each unit waiting for the next
    /// and the last one for the first. Of several equally short ones the first by name.
    pub(super) fn cycle_through(&self, start: &UnitName) -> Option<Vec<UnitName>> {
        // Breadth first, in the order of names, so that the first way back is a shortest one.
        let mut came_from: BTreeMap<&UnitName, &UnitName> = BTreeMap::new();
        let (start, _) = self.0.get_key_value(start)?;
        let mut queue = VecDeque::from([start]);
        while let Some(name) = queue.pop_front() {
            for next in self.0.get(name)? {
                if next == start {
                    return Some(rotate(walk_back(&came_from, name, start)));
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, name);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

fn walk_back(
    came_from: &BTreeMap<&UnitName, &UnitName>,
    last: &UnitName,
    start: &UnitName,
) -> Vec<UnitName> {
    let mut cycle = vec![last.clone()];
    let mut name = last;
    while name != start {
        match came_from.get(name) {
            Some(before) => name = before,
            None => break,
        }
        cycle.push(name.clone());
    }
    cycle.reverse();
    cycle
}

/// So that every unit of a cycle calls it by the same name.
fn rotate(mut cycle: Vec<UnitName>) -> Vec<UnitName> {
    let first = cycle
        .iter()
        .enumerate()
        .min_by_key(|(_, name)| *name)
        .map_or(0, |(at, _)| at);
    cycle.rotate_left(first);
    cycle
}
