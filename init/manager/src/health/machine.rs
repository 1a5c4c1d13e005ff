//! What a row of probes adds up to. Pure.

use orlop_control::types::HealthState;

/// A container's health and what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    state: HealthState,
    failures: u32,
    retries: u32,
}

impl Machine {
    /// A container that was not asked yet; so many failures in a row make it
    /// unhealthy.
    pub fn new(retries: u32) -> Machine {
        Machine {
            state: HealthState::Starting,
            failures: 0,
            retries: retries.max(1),
        }
    }

    /// The health.
    pub fn state(self) -> HealthState {
        self.state
    }

    /// After a probe. Failures within the grace of the start do not count
    /// until the first success.
    pub fn step(mut self, success: bool, in_grace: bool) -> Machine {
        match (success, self.state, in_grace) {
            (true, _, _) => {
                self.state = HealthState::Healthy;
                self.failures = 0;
            }
            (false, HealthState::Starting, true) => {}
            (false, HealthState::Starting, false) | (false, HealthState::Healthy, _) => {
                self.failures += 1;
                if self.failures >= self.retries {
                    self.state = HealthState::Unhealthy;
                }
            }
            (false, HealthState::Unhealthy, _) => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::{Healthy, Starting, Unhealthy};

    #[test]
    fn probes_add_up() {
        // s: success, f: failure, g: failure within the grace.
        let cases = [
            ("", Starting),
            ("s", Healthy),
            ("ff", Starting),
            ("fff", Unhealthy),
            ("ggggg", Starting),
            ("gggggff", Starting),
            ("gggggfff", Unhealthy),
            ("sff", Healthy),
            ("sffsff", Healthy),
            ("sfff", Unhealthy),
            ("sggg", Unhealthy),
            ("fffs", Healthy),
        ];
        for (probes, expected) in cases {
            let machine = probes.chars().fold(Machine::new(3), |m, probe| {
                m.step(probe == 's', probe == 'g')
            });
            assert_eq!(machine.state(), expected, "{probes:?}");
        }
    }
}
