//! The ordered shutdown, as a machine of four steps, each with a deadline.
//!
//! ```text
//! Containers ──ContainersStopped | deadline──► Terminating ──deadline──► Killing
//! Terminating ──alone──► Done
//! Killing ──alone | deadline──► Done
//! ```
//!
//! A host whose manager is not trusted any more begins with Terminating: nobody
//! is there to stop containers by their units' settings.
//!
//! Every step ends by its deadline, so the machine goes down whatever its
//! processes do; a kernel that hangs on the way is the watchdog's business.
//! How long the containers get is for their units to say, so the manager asks
//! for it, and asks anew when it was restarted; [`LONGEST_MS`] is the end of it.

use orlop_handover::ShutdownMode;

/// How long the manager has for stopping every container when it does not say
/// what the units need, in milliseconds.
const UNASKED_MS: u64 = 90_000;
/// How long it has in all, whatever it asks for, in milliseconds: an hour, which
/// is the longest stop timeout that a unit may have, and a minute.
pub(crate) const LONGEST_MS: u64 = 3_660_000;
/// How long a process has after SIGTERM, in milliseconds.
const TERM_MS: u64 = 5_000;
/// How long the kernel has for burying what SIGKILL felled, in milliseconds.
const KILL_MS: u64 = 3_000;
/// From the last deadline to the last step, which feeds the watchdog itself.
const UNMOUNT_MS: u64 = 30_000;

/// How far the shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The manager stops the containers by their units' settings.
    Containers {
        mode: ShutdownMode,
        deadline_ms: u64,
        /// When no request moves the deadline further.
        longest_ms: u64,
    },
    /// Every process has got SIGTERM.
    Terminating {
        mode: ShutdownMode,
        deadline_ms: u64,
    },
    /// Every process has got SIGKILL.
    Killing {
        mode: ShutdownMode,
        deadline_ms: u64,
    },
    /// No process is left, or none that could be waited for.
    Done { mode: ShutdownMode },
}

/// What moves it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// The containers need so many milliseconds from now.
    Needs(u64),
    /// The manager has stopped every container.
    ContainersStopped,
    /// PID 1 has no child left.
    Alone,
}

/// What to do on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// SIGTERM to every process.
    Terminate,
    /// SIGKILL to every process and every container's cgroup.
    Kill,
    /// Unmount and reset or switch off.
    Finish(ShutdownMode),
}

impl Ending {
    /// The first step.
    pub(crate) fn begin(mode: ShutdownMode, now_ms: u64) -> Self {
        Self::Containers {
            mode,
            deadline_ms: now_ms.saturating_add(UNASKED_MS),
            longest_ms: now_ms.saturating_add(LONGEST_MS),
        }
    }

    /// The first step of a host that has no manager to stop its containers; every
    /// process is to get SIGTERM with it.
    pub(crate) fn without_manager(mode: ShutdownMode, now_ms: u64) -> Self {
        Self::Terminating {
            mode,
            deadline_ms: now_ms.saturating_add(TERM_MS),
        }
    }

    /// The state after `event`, and what to do.
    pub(crate) fn step(self, event: Event, now_ms: u64) -> (Self, Option<Act>) {
        use Ending::{Containers, Done, Killing, Terminating};
        use Event::{Alone, ContainersStopped, Needs, Tick};
        let past = |deadline_ms: u64| now_ms >= deadline_ms;
        match (self, event) {
            (Containers { deadline_ms, .. }, Tick) if !past(deadline_ms) => (self, None),
            (
                Containers {
                    mode, longest_ms, ..
                },
                Needs(needs_ms),
            ) => {
                let next = Containers {
                    mode,
                    deadline_ms: now_ms.saturating_add(needs_ms).min(longest_ms),
                    longest_ms,
                };
                (next, None)
            }
            (Containers { mode, .. }, Tick | ContainersStopped) => {
                let next = Self::without_manager(mode, now_ms);
                (next, Some(Act::Terminate))
            }
            (Terminating { deadline_ms, .. }, Tick) if !past(deadline_ms) => (self, None),
            (Terminating { mode, .. }, Tick) => {
                let deadline_ms = now_ms.saturating_add(KILL_MS);
                (Killing { mode, deadline_ms }, Some(Act::Kill))
            }
            (Killing { deadline_ms, .. }, Tick) if !past(deadline_ms) => (self, None),
            // Every process is a descendant of PID 1, so nobody is left to kill.
            (Terminating { mode, .. }, Alone) | (Killing { mode, .. }, Tick | Alone) => {
                (Done { mode }, Some(Act::Finish(mode)))
            }
            // A manager that is being restarted leaves PID 1 without children.
            (Containers { .. }, Alone)
            | (Terminating { .. } | Killing { .. }, ContainersStopped | Needs(_))
            | (Done { .. }, Tick | ContainersStopped | Alone | Needs(_)) => (self, None),
        }
    }

    /// When the machine is down at the latest, as things stand.
    pub(crate) fn down_by_ms(self) -> u64 {
        let (deadline_ms, after_ms) = match self {
            Self::Containers { deadline_ms, .. } => (deadline_ms, TERM_MS + KILL_MS),
            Self::Terminating { deadline_ms, .. } => (deadline_ms, KILL_MS),
            Self::Killing { deadline_ms, .. } => (deadline_ms, 0),
            Self::Done { .. } => (0, 0),
        };
        deadline_ms.saturating_add(after_ms + UNMOUNT_MS)
    }

    /// When [`Event::Tick`] is next of use.
    pub(crate) fn wake_ms(self) -> Option<u64> {
        match self {
            Self::Containers { deadline_ms, .. }
            | Self::Terminating { deadline_ms, .. }
            | Self::Killing { deadline_ms, .. } => Some(deadline_ms),
            Self::Done { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Alone, ContainersStopped, Needs, Tick};
    use ShutdownMode::{PowerOff, Reboot};

    fn acts(mode: ShutdownMode, events: &[(Event, u64)]) -> Vec<Act> {
        let mut state = Ending::begin(mode, 0);
        let mut acts = Vec::new();
        for (event, now) in events {
            let (next, act) = state.step(*event, *now);
            state = next;
            acts.extend(act);
        }
        acts
    }

    /// Events, the mode, and whether anything has to be killed.
    type Way<'a> = (&'a [(Event, u64)], ShutdownMode, bool);

    #[test]
    fn each_way_down_ends_in_the_asked_mode() {
        let all = |mode, kill: bool| {
            let kill = kill.then_some(Act::Kill);
            let acts = [Some(Act::Terminate), kill, Some(Act::Finish(mode))];
            acts.into_iter().flatten().collect::<Vec<_>>()
        };
        let table: &[Way<'_>] = &[
            (
                &[(ContainersStopped, 10), (Alone, 20), (Alone, 30)],
                PowerOff,
                false,
            ),
            (
                &[(Alone, 5), (ContainersStopped, 10), (Tick, 11), (Alone, 20)],
                Reboot,
                false,
            ),
            (
                &[
                    (Tick, 90_000),
                    (Tick, 95_000),
                    (Tick, 98_000),
                    (Tick, 99_000),
                ],
                Reboot,
                true,
            ),
            (
                &[
                    (ContainersStopped, 1),
                    (ContainersStopped, 2),
                    (Tick, 5_001),
                    (Alone, 5_002),
                ],
                PowerOff,
                true,
            ),
        ];
        for (events, mode, kill) in table {
            assert_eq!(acts(*mode, events), all(*mode, *kill), "{events:?}");
        }
    }

    #[test]
    fn ticks_alone_always_reach_the_end_in_time() {
        let mut state = Ending::begin(Reboot, 1_000);
        let mut now = 1_000;
        while let Some(wake) = state.wake_ms() {
            assert!(wake >= now);
            now = wake;
            let down_by = state.down_by_ms();
            state = state.step(Tick, now).0;
            assert!(
                now < down_by
                    && state
                        .wake_ms()
                        .is_none_or(|_| state.down_by_ms() <= down_by)
            );
        }
        assert_eq!(now - 1_000, UNASKED_MS + TERM_MS + KILL_MS);
    }

    #[test]
    fn without_a_manager_the_containers_get_a_moment_only() {
        let mut state = Ending::without_manager(Reboot, 1_000);
        let mut acts = Vec::new();
        while let Some(wake) = state.wake_ms() {
            assert!(wake <= 1_000 + TERM_MS + KILL_MS);
            let (next, act) = state.step(Tick, wake);
            state = next;
            acts.extend(act);
        }
        assert_eq!(acts, [Act::Kill, Act::Finish(Reboot)]);
    }

    /// When the containers are waited for no longer.
    fn waits_until(events: &[(Event, u64)]) -> u64 {
        let mut state = Ending::begin(Reboot, 1_000);
        for (event, now) in events {
            let (next, act) = state.step(*event, *now);
            assert_eq!(act, None, "{events:?}");
            state = next;
        }
        state.wake_ms().unwrap()
    }

    #[test]
    fn containers_get_what_their_units_need_up_to_the_longest() {
        let longest = 1_000 + LONGEST_MS;
        let table: &[(&[(Event, u64)], u64)] = &[
            (&[], 1_000 + UNASKED_MS),
            (&[(Needs(400_000), 2_000)], 402_000),
            (&[(Needs(400_000), 2_000), (Tick, 401_999)], 402_000),
            // Little is needed: a container that ignores its kill is not waited for.
            (&[(Needs(12_000), 2_000)], 14_000),
            // A manager that was restarted on the way asks anew.
            (&[(Needs(12_000), 2_000), (Needs(12_000), 9_000)], 21_000),
            (&[(Needs(u64::MAX), 2_000)], longest),
            (
                &[(Needs(3_000_000), 2_000), (Needs(3_000_000), 2_900_000)],
                longest,
            ),
        ];
        for (events, expected) in table {
            assert_eq!(waits_until(events), *expected, "{events:?}");
        }
    }

    #[test]
    fn nobody_asks_for_time_once_every_process_is_being_stopped() {
        let state = Ending::begin(PowerOff, 0).step(ContainersStopped, 10).0;
        assert_eq!(state.step(Needs(1_000_000), 20), (state, None));
    }
}
