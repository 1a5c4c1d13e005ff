//! What a row of probes adds up to. Pure.

use std::time::Duration;

use orlop_control::types::HealthState;
use orlop_unit::Health;

/// A container's health and what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    state: HealthState,
    failures: u32,
    retries: u32,
    interval: Duration,
    /// When the next failure counts, from the start on. Before the first success
    /// there are more probes than one an interval.
    due: Duration,
}

impl Machine {
    /// A container that was not asked yet.
    pub fn new(health: &Health) -> Machine {
        Machine {
            state: HealthState::Starting,
            failures: 0,
            retries: health.retries.max(1),
            interval: health.interval,
            due: health.start_period.saturating_add(health.interval),
        }
    }

    /// The health.
    pub fn state(self) -> HealthState {
        self.state
    }

    /// After a probe, which ended so long after the start. Until the first
    /// success at most one failure an interval counts, and none within the grace
    /// of the start: unhealthy is what had no success for all its intervals.
    pub fn step(mut self, success: bool, at: Duration) -> Machine {
        match (success, self.state) {
            (true, _) => {
                self.state = HealthState::Healthy;
                self.failures = 0;
            }
            (false, HealthState::Starting) if at < self.due => {}
            (false, HealthState::Starting | HealthState::Healthy) => {
                self.failures += 1;
                self.due = at.saturating_add(self.interval);
                if self.failures >= self.retries {
                    self.state = HealthState::Unhealthy;
                }
            }
            (false, HealthState::Unhealthy) => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::{Healthy, Starting, Unhealthy};
    use orlop_unit::Probe;

    fn machine(start_period: u64) -> Machine {
        Machine::new(&Health {
            probe: Probe::Tcp(80),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(start_period),
            gate: false,
        })
    }

    #[test]
    fn probes_add_up() {
        // Ten seconds after one another. s: success, f: failure.
        let cases = [
            ("", 0, Starting),
            ("s", 0, Healthy),
            ("ff", 0, Starting),
            ("fff", 0, Unhealthy),
            ("fffff", 50, Starting),
            ("fffffff", 50, Starting),
            ("ffffffff", 50, Unhealthy),
            ("sff", 0, Healthy),
            ("sffsff", 0, Healthy),
            ("sfff", 0, Unhealthy),
            ("sfff", 100, Unhealthy),
            ("fffs", 0, Healthy),
        ];
        for (probes, start_period, expected) in cases {
            let mut at = Duration::ZERO;
            let machine = probes.chars().fold(machine(start_period), |m, probe| {
                at += Duration::from_secs(10);
                m.step(probe == 's', at)
            });
            assert_eq!(machine.state(), expected, "{probes:?} {start_period}");
        }
    }

    #[test]
    fn eager_probes_make_nothing_unhealthy_before_all_its_intervals() {
        for (start_period, probe_every, until) in [
            (0, 100, 30_000),
            (0, 1_000, 30_000),
            (20, 100, 50_000),
            // One a probe, however long each takes.
            (0, 25_000, 75_000),
        ] {
            let mut machine = machine(start_period);
            let mut at = 0;
            while machine.state() == Starting {
                at += probe_every;
                machine = machine.step(false, Duration::from_millis(at));
            }
            assert_eq!((machine.state(), at), (Unhealthy, until), "{probe_every}");
        }
        let tried = machine(0).step(false, Duration::from_millis(100));
        let ready = tried.step(true, Duration::from_millis(200));
        assert_eq!(ready.state(), Healthy);
    }
}
