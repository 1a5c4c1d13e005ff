//! The exits that the manager has not yet acknowledged.
//!
//! Bounded: when it is full the reaper leaves further zombies unreaped, so the
//! kernel keeps their statuses and none is dropped (I2, I10).

use orlop_handover::FromInit;
use std::collections::BTreeMap;

/// The most exits kept at a time.
pub(crate) const CAPACITY: usize = 4096;

/// How one child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) pid: i32,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// `CLOCK_REALTIME`, milliseconds.
    pub(crate) at_ms: u64,
}

impl Exit {
    pub(crate) fn message(&self) -> FromInit {
        FromInit::Exit {
            pid: self.pid,
            start_time: self.start_time,
            code: self.code,
            signal: self.signal,
            at_ms: self.at_ms,
        }
    }
}

/// The table, in the order of reaping.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    by_order: BTreeMap<u64, Exit>,
    next: u64,
}

impl Exits {
    pub(crate) fn is_full(&self) -> bool {
        self.by_order.len() >= CAPACITY
    }

    /// Keeps `exit`. The caller has made sure that the table is not full.
    pub(crate) fn record(&mut self, exit: Exit) {
        self.by_order.insert(self.next, exit);
        self.next = self.next.wrapping_add(1);
    }

    /// Forgets the exit that was acknowledged; says whether it was there.
    pub(crate) fn acknowledge(&mut self, pid: i32, start_time: u64) -> bool {
        let found = self
            .by_order
            .iter()
            .find(|(_, e)| e.pid == pid && e.start_time == start_time)
            .map(|(order, _)| *order);
        found
            .and_then(|order| self.by_order.remove(&order))
            .is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exit> {
        self.by_order.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exit(pid: i32, start_time: u64) -> Exit {
        Exit {
            pid,
            start_time,
            code: Some(0),
            signal: None,
            at_ms: 1,
        }
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut exits = Exits::default();
        exits.record(exit(7, 100));
        exits.record(exit(7, 200));
        assert!(exits.acknowledge(7, 200));
        assert!(!exits.acknowledge(7, 200));
        assert_eq!(
            exits.iter().map(|e| e.start_time).collect::<Vec<_>>(),
            [100]
        );
    }

    proptest! {
        #[test]
        fn none_is_lost_or_doubled(operations in prop::collection::vec((any::<bool>(), 0..20_i32), 0..300)) {
            let mut exits = Exits::default();
            let mut model: Vec<(i32, u64)> = Vec::new();
            for (step, (add, pid)) in operations.into_iter().enumerate() {
                if add && !exits.is_full() {
                    exits.record(exit(pid, step as u64));
                    model.push((pid, step as u64));
                } else if let Some(at) = model.iter().position(|m| m.0 == pid) {
                    let (pid, start) = model.remove(at);
                    prop_assert!(exits.acknowledge(pid, start));
                }
            }
            prop_assert_eq!(exits.iter().map(|e| (e.pid, e.start_time)).collect::<Vec<_>>(), model);
        }
    }
}
