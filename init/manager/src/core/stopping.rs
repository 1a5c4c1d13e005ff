//! The host goes down: every container is stopped by its unit's settings, and
//! whoever is required by others after them.

use std::collections::{BTreeMap, BTreeSet};

use orlop_control::types::{ApiError, EventKind, ShutdownMode};
use orlop_handover::ToInit;

use super::owner::{Owner, now_ms};
use super::state::{Event, Policy};
use crate::handle::Reply;

/// What one stop may take beyond its timeout, in milliseconds: the kill, and
/// giving back what the container held.
const MARGIN_MS: u64 = 10_000;

/// A shutdown that is under way.
#[derive(Debug)]
pub(super) struct Stopping {
    /// When PID 1 waits no longer, whatever the units need.
    by_ms: u64,
    /// PID 1 knows what the units need.
    needs_told: bool,
    /// PID 1 knows that nothing is left.
    end_told: bool,
}

impl Stopping {
    /// PID 1 waits for so long from now.
    pub(super) fn within(deadline_ms: u64) -> Stopping {
        Stopping {
            by_ms: now_ms().saturating_add(deadline_ms),
            needs_told: false,
            end_told: false,
        }
    }

    /// No stop may take until PID 1 has given up: its container would be killed
    /// with all others, and no exit of it recorded.
    pub(super) fn bound(&self, policy: Policy, now_ms: u64) -> Policy {
        let left = self.by_ms.saturating_sub(now_ms).saturating_sub(MARGIN_MS);
        Policy {
            stop_timeout_ms: policy.stop_timeout_ms.min(left),
            ..policy
        }
    }
}

/// The shutdown that was asked for here, and who waits for PID 1 to begin it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    mode: Option<ShutdownMode>,
    waiting: Vec<Reply<()>>,
}

impl Asked {
    /// Takes note of a request; `begun` says that the host goes down already.
    /// True when PID 1 is to be told.
    fn ask(&mut self, mode: ShutdownMode, begun: bool, reply: Reply<()>) -> bool {
        let answer = match self.mode {
            None if !begun => {
                self.mode = Some(mode);
                self.waiting.push(reply);
                return true;
            }
            Some(asked) if asked == mode && !begun => {
                self.waiting.push(reply);
                return false;
            }
            Some(asked) if asked == mode => Ok(()),
            Some(_) | None => Err(ApiError::conflict("the host is going down already")
                .with_help("it cannot be told to end otherwise now")),
        };
        let _ = reply.send(answer);
        false
    }

    /// PID 1 has begun: the request outlives this manager from here on.
    fn begun(&mut self) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }
}

impl Owner {
    /// Has PID 1 shut the host down; answered once it has begun.
    pub(super) fn shutdown(&mut self, mode: ShutdownMode, reply: Reply<()>) {
        if !self.asked.ask(mode, self.stopping.is_some(), reply) {
            return;
        }
        self.tell(EventKind::Shutdown { mode });
        let mode = match mode {
            ShutdownMode::Reboot => orlop_handover::ShutdownMode::Reboot,
            ShutdownMode::PowerOff => orlop_handover::ShutdownMode::PowerOff,
        };
        self.init.say(ToInit::Shutdown { mode }, Vec::new());
    }

    /// PID 1 shuts the host down, whoever asked for that.
    pub(super) fn stop_containers(&mut self, deadline_ms: u64) {
        self.stopping = Some(Stopping::within(deadline_ms));
        self.asked.begun();
    }

    pub(super) fn settle_stopping(&mut self) {
        if self.stopping.as_ref().is_some_and(|s| !s.needs_told) {
            let stops = self.stops();
            let (needs_ms, containers) = (needs_ms(&stops), stops.len());
            let needs = ToInit::Stopping {
                needs_ms,
                containers,
            };
            self.init.say(needs, Vec::new());
        }
        let required: BTreeSet<String> = self
            .stops()
            .into_values()
            .flat_map(|s| s.requires)
            .collect();
        let now =
            self.names_where(|name, entry| entry.container.is_none() || !required.contains(name));
        for name in now {
            let wanted = self.units.get(&name).is_some_and(|e| e.machine.wanted());
            if wanted {
                self.step(&name, Event::Stop);
            }
        }
        let left = self.units.values().any(|entry| entry.container.is_some());
        let told = self.stopping.as_ref().is_some_and(|s| s.end_told);
        if !left && !told {
            self.init.say(ToInit::ContainersStopped, Vec::new());
        }
        if let Some(stopping) = &mut self.stopping {
            stopping.needs_told = true;
            stopping.end_told |= !left;
        }
    }

    /// Every container that is to be stopped.
    fn stops(&self) -> BTreeMap<String, Stop> {
        let with_container = |entry: &&super::entry::Entry| entry.container.is_some();
        let units = self.units.iter();
        units
            .filter(|(_, entry)| with_container(entry))
            .map(|(name, entry)| {
                let unit = entry.current.as_ref().map(|definition| definition.unit());
                let requires = unit.iter().flat_map(|unit| unit.requires.iter());
                let stop = Stop {
                    timeout_ms: entry.policy().stop_timeout_ms,
                    requires: requires.map(|name| name.as_str().to_owned()).collect(),
                };
                (name.clone(), stop)
            })
            .collect()
    }
}

/// One container's stop.
#[derive(Debug, Default)]
struct Stop {
    timeout_ms: u64,
    /// Whose containers stop only after it.
    requires: Vec<String>,
}

/// How long the stops take at most: as long as the slowest chain of those that
/// wait for each other.
fn needs_ms(stops: &BTreeMap<String, Stop>) -> u64 {
    let own = |stop: &Stop| stop.timeout_ms.saturating_add(MARGIN_MS);
    let mut ends: BTreeMap<&str, u64> = stops.iter().map(|(n, s)| (n.as_str(), own(s))).collect();
    // A chain has no more links than there are stops. What is on a cycle cannot
    // have been started, but nothing may be followed for ever.
    for _ in stops {
        let mut settled = true;
        for (user, stop) in stops {
            let before = ends.get(user.as_str()).copied().unwrap_or(0);
            for name in &stop.requires {
                if let (Some(next), Some(end)) = (stops.get(name), ends.get_mut(name.as_str())) {
                    let after = before.saturating_add(own(next));
                    settled &= *end >= after;
                    *end = after.max(*end);
                }
            }
        }
        if settled {
            break;
        }
    }
    ends.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_unit::RestartPolicy;

    fn needs(stops: &[(&str, u64, &[&str])]) -> u64 {
        let stops = stops.iter().map(|(name, timeout_ms, requires)| {
            let requires = requires.iter().map(|name| (*name).to_owned()).collect();
            let stop = Stop {
                timeout_ms: *timeout_ms,
                requires,
            };
            ((*name).to_owned(), stop)
        });
        needs_ms(&stops.collect())
    }

    #[test]
    fn the_slowest_chain_says_how_long_it_takes() {
        const M: u64 = MARGIN_MS;
        assert_eq!(needs(&[]), 0);
        assert_eq!(needs(&[("a", 7, &[])]), 7 + M);
        // Side by side.
        assert_eq!(needs(&[("a", 7, &[]), ("b", 300_000, &[])]), 300_000 + M);
        // One after the other, in either order of their names.
        let chain: &[(&str, u64, &[&str])] = &[("a", 7, &["b"]), ("b", 9, &["c"]), ("c", 8, &[])];
        assert_eq!(needs(chain), 24 + 3 * M);
        let chain: &[(&str, u64, &[&str])] = &[("c", 7, &["b"]), ("b", 9, &["a"]), ("a", 8, &[])];
        assert_eq!(needs(chain), 24 + 3 * M);
        // The slower of two users; one that has no container does not count.
        let fork: &[(&str, u64, &[&str])] = &[
            ("db", 20, &["gone"]),
            ("fast", 1, &["db"]),
            ("slow", 500, &["db"]),
        ];
        assert_eq!(needs(fork), 520 + 2 * M);
        assert!(needs(&[("a", u64::MAX, &["b"]), ("b", 1, &["a"])]) > 0);
    }

    #[test]
    fn a_shutdown_is_acknowledged_once_it_has_begun() {
        use ShutdownMode::{PowerOff, Reboot};
        let mut asked = Asked::default();
        let ask = |asked: &mut Asked, mode, begun| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            (asked.ask(mode, begun, reply), answer)
        };
        let (tell, mut first) = ask(&mut asked, Reboot, false);
        assert!(tell && first.try_recv().is_err(), "it is not PID 1's yet");
        let (tell, mut second) = ask(&mut asked, Reboot, false);
        assert!(!tell && second.try_recv().is_err());
        let (tell, mut other) = ask(&mut asked, PowerOff, false);
        assert!(
            !tell && other.try_recv().unwrap().is_err(),
            "nor is it done"
        );
        asked.begun();
        assert!(first.try_recv().unwrap().is_ok() && second.try_recv().unwrap().is_ok());
        let (tell, mut later) = ask(&mut asked, Reboot, true);
        assert!(!tell && later.try_recv().unwrap().is_ok());
        // Begun by a button, or asked of a manager before.
        let (tell, mut late) = ask(&mut Asked::default(), Reboot, true);
        assert!(!tell && late.try_recv().unwrap().is_err());
    }

    #[test]
    fn a_stop_ends_before_pid_1_has_given_up() {
        let policy = Policy {
            restart: RestartPolicy::Always,
            backoff_min_ms: 1,
            backoff_max_ms: 1,
            stop_timeout_ms: 60_000,
        };
        let stopping = Stopping {
            by_ms: 100_000,
            needs_told: true,
            end_told: false,
        };
        for (now, expected) in [(0, 60_000), (50_000, 40_000), (95_000, 0), (200_000, 0)] {
            assert_eq!(stopping.bound(policy, now).stop_timeout_ms, expected);
        }
    }
}
