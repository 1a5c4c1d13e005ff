//! Containers that no record speaks of are taken away before their units start
//! anything: a unit's containers share its cgroup, its address and its files,
//! and whoever takes the old one away would kill the new one with it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::owner::{Owner, Report};

/// The pause before one that could not be taken away is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// The containers that are to go, and what stands in the way.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    left: BTreeMap<String, Option<String>>,
}

impl Strangers {
    /// What of `unit` has to go before it may start.
    pub(super) fn of(&self, unit: &str) -> impl Iterator<Item = String> {
        let of = move |id: &str| id.rsplit_once('-').is_some_and(|(name, _)| name == unit);
        self.left
            .iter()
            .filter(move |(id, _)| of(id))
            .map(|(id, problem)| match problem {
                Some(problem) => format!("{id}, which cannot be taken away: {problem}"),
                None => format!("{id}, which is being taken away"),
            })
    }

    /// One more that is to go.
    fn add(&mut self, id: &str) {
        self.left.insert(id.to_owned(), None);
    }

    /// What came of a try; whether there has to be another.
    fn tried(&mut self, id: &str, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.left.remove(id);
                false
            }
            Err(problem) => {
                let before = self.left.insert(id.to_owned(), Some(problem.clone()));
                if before.flatten().as_ref() != Some(&problem) {
                    tracing::error!("{id}, of which nothing is known, stays: {problem}");
                }
                true
            }
        }
    }
}

impl Owner {
    /// Takes those containers away that no record speaks of.
    pub(super) fn forget_strangers(&mut self) {
        let known: Vec<&str> = self
            .units
            .values()
            .filter_map(|entry| entry.container.as_ref())
            .map(|container| container.id.as_str())
            .collect();
        let entries = std::fs::read_dir(self.tools.paths.containers());
        let strangers: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| !known.contains(&id.as_str()))
            .collect();
        for id in strangers {
            self.strangers.add(&id);
            self.send_away(id, Duration::ZERO);
        }
    }

    fn send_away(&self, id: String, pause: Duration) {
        let (tools, reports) = (self.tools.clone(), self.reports.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // No unit's network is touched: another unit may have its address.
            let result = tools.clean_stranger(&id).await;
            let result = result.map_err(|error| error.to_string());
            let _ = reports.send(Report::SentAway(id, result)).await;
        });
    }

    pub(super) fn sent_away(&mut self, id: String, result: Result<(), String>) {
        if self.strangers.tried(&id, result) {
            self.send_away(id, AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_waits_for_its_own_strangers_until_they_are_gone() {
        let mut strangers = Strangers::default();
        strangers.add("web-12345678");
        strangers.add("web-front-12345678");
        let of = |strangers: &Strangers, unit: &str| strangers.of(unit).collect::<Vec<_>>();
        assert_eq!(of(&strangers, "we"), [""; 0]);
        assert_eq!(
            of(&strangers, "web"),
            ["web-12345678, which is being taken away"]
        );
        assert!(strangers.tried("web-12345678", Err("busy".to_owned())));
        assert_eq!(
            of(&strangers, "web"),
            ["web-12345678, which cannot be taken away: busy"]
        );
        assert!(!strangers.tried("web-12345678", Ok(())));
        assert_eq!(of(&strangers, "web"), [""; 0]);
        assert_eq!(of(&strangers, "web-front").len(), 1);
    }
}
