//! Whether the manager is alive, and so whether the watchdog is fed.
//!
//! PID 1 asks, the manager answers. A manager that has not answered for
//! [`HANG_MS`] is killed (being crash-only, it comes back where it was). When no
//! manager has answered for [`TRUST_MS`], restarts included, or none within
//! [`FIRST_MS`] of a boot on trial, the host is to restart. On trial managers have to
//! last as well ([`Earns`]). During a shutdown the trust
//! has a fixed end, at which the watchdog goes hungry, but a manager that hangs
//! is still found out: the next one goes on stopping.

/// How often the manager is asked, in milliseconds.
pub(crate) const ASK_MS: u64 = 2_000;
/// How long a manager may leave questions unanswered, in milliseconds.
pub(crate) const HANG_MS: u64 = 20_000;
/// How long a boot on trial may go without its first answer, in milliseconds: room
/// for a hung manager to be found out and for the next to answer, which takes a
/// second. No more, because no container runs yet, and because a new version with
/// a manager that never answers is started three times before the old one is, all
/// of it within two minutes. A version that was found good has [`TRUST_MS`]: there
/// is nothing better to start, and a slow disk alone must not restart it.
pub(crate) const FIRST_MS: u64 = 22_000;
/// How long managers are trusted after the last answer, in milliseconds: room
/// for a hung manager to be found out, killed, and three slow restarts, while
/// its containers run on.
pub(crate) const TRUST_MS: u64 = 90_000;
/// How often the watchdog is fed, in milliseconds.
pub(crate) const FEED_MS: u64 = 5_000;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask the manager.
    Ask(u64),
    /// Feed the watchdog.
    Feed,
    /// Kill the manager: it does not answer.
    Kill(i32),
    /// Nobody is trusted any more, and the watchdog is not fed. Once for each
    /// loss of trust.
    Distrust,
}

/// Whose answers earn trust.
///
/// ```text
///                  answer
/// First ──────────────────────► Lasting ──────────────────────► All
///   └──────── answer of a manager that has lived for TRUST_MS ───┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Earns {
    /// The first one's, on trial: whoever gave it has time to last.
    First,
    /// Those of managers that have lived for [`HANG_MS`]: one that dies soon after each
    /// start is trusted no longer than one that hangs. Killed by somebody, a few times,
    /// it has the time to show that it does not.
    Lasting,
    /// Everybody's: the version was found good, or has had a manager for so long that
    /// it may be by now. From then on PID 1 restarts no host whose managers are killed.
    All,
}

/// The manager's pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    seq: u64,
    asked_ms: u64,
    /// The last answer, or the start of the process that is being waited for.
    sign_ms: u64,
    trusted_until_ms: u64,
    fed_ms: Option<u64>,
    /// Said already.
    distrusted: bool,
    process: Option<i32>,
    /// When the last process was started.
    started_ms: u64,
    earns: Earns,
    /// Answers no longer earn trust.
    shuts_down: bool,
}

impl Pulse {
    /// A boot's pulse, which starts out trusted, for longer unless it is `on_trial`.
    pub(crate) fn new(now_ms: u64, on_trial: bool) -> Self {
        let (first_ms, earns) = match on_trial {
            true => (FIRST_MS, Earns::First),
            false => (TRUST_MS, Earns::All),
        };
        Self {
            seq: 0,
            asked_ms: now_ms,
            sign_ms: now_ms,
            trusted_until_ms: now_ms.saturating_add(first_ms),
            fed_ms: None,
            distrusted: false,
            process: None,
            started_ms: now_ms,
            earns,
            shuts_down: false,
        }
    }

    /// A new manager runs: it has until [`HANG_MS`] for its first answer. Starting
    /// proves nothing, so trust is not renewed.
    pub(crate) fn started(&mut self, pid: i32, now_ms: u64) {
        self.process = Some(pid);
        self.started_ms = now_ms;
        self.sign_ms = now_ms;
    }

    /// No manager runs.
    pub(crate) fn ended(&mut self) {
        self.process = None;
    }

    /// The manager answered question `seq`. An answer to a question that was
    /// never asked counts for nothing.
    pub(crate) fn answered(&mut self, seq: u64, now_ms: u64) {
        if seq == 0 || seq > self.seq {
            return;
        }
        self.sign_ms = now_ms;
        if self.shuts_down {
            return;
        }
        let lived_ms = now_ms.saturating_sub(self.started_ms);
        let (does_earn, next) = match self.earns {
            Earns::First | Earns::Lasting if lived_ms >= TRUST_MS => (true, Earns::All),
            Earns::First => (true, Earns::Lasting),
            Earns::Lasting => (lived_ms >= HANG_MS, Earns::Lasting),
            Earns::All => (true, Earns::All),
        };
        self.earns = next;
        if does_earn {
            self.trusted_until_ms = now_ms.saturating_add(TRUST_MS);
        }
    }

    /// The host is going down and will be down at `deadline_ms`: fed until then
    /// and not a moment longer, whatever the manager does.
    pub(crate) fn shut_down_by(&mut self, deadline_ms: u64) {
        self.trusted_until_ms = deadline_ms;
        self.shuts_down = true;
        self.distrusted = false;
    }

    /// No manager is waited for any more.
    pub(crate) fn retired(&mut self) {
        self.process = None;
    }

    /// Everything that is due at `now_ms`.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        if let Some(pid) = self.process {
            if now_ms >= self.sign_ms.saturating_add(HANG_MS) {
                acts.push(Act::Kill(pid));
                // Killing takes effect when the process is reaped; not again before then.
                self.process = None;
            } else if now_ms >= self.asked_ms.saturating_add(ASK_MS) {
                self.seq += 1;
                self.asked_ms = now_ms;
                acts.push(Act::Ask(self.seq));
            }
        }
        if now_ms < self.trusted_until_ms {
            if self
                .fed_ms
                .is_none_or(|fed| now_ms >= fed.saturating_add(FEED_MS))
            {
                self.fed_ms = Some(now_ms);
                acts.push(Act::Feed);
            }
        } else if !self.distrusted {
            self.distrusted = true;
            acts.push(Act::Distrust);
        }
        acts
    }

    /// When [`Pulse::tick`] is next of use: after a tick, always later than it.
    /// `None` while only news could make it so.
    pub(crate) fn wake_ms(&self) -> Option<u64> {
        let feed = self.fed_ms.map_or(0, |fed| fed.saturating_add(FEED_MS));
        let trust = (!self.distrusted).then_some(feed.min(self.trusted_until_ms));
        let ask = self.process.map(|_| self.asked_ms.saturating_add(ASK_MS));
        trust.into_iter().chain(ask).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs from `from` to `to` in steps, answering or not; gives (feeds, kills).
    fn run(pulse: &mut Pulse, from: u64, to: u64, answers: bool) -> (u32, u32) {
        let (mut feeds, mut kills) = (0, 0);
        let mut now = from;
        while now < to {
            let acts = pulse.tick(now);
            assert!(pulse.wake_ms().is_none_or(|wake| wake > now), "{pulse:?}");
            for act in acts {
                match act {
                    Act::Ask(seq) if answers => pulse.answered(seq, now),
                    Act::Ask(_) | Act::Distrust => {}
                    Act::Feed => feeds += 1,
                    Act::Kill(pid) => {
                        kills += 1;
                        pulse.started(pid + 1, now);
                    }
                }
            }
            now += 500;
        }
        (feeds, kills)
    }

    #[test]
    fn a_manager_that_answers_keeps_the_watchdog_fed() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        let (feeds, kills) = run(&mut pulse, 0, 600_000, true);
        assert_eq!((feeds, kills), (120, 0));
    }

    #[test]
    fn a_hung_manager_is_killed_and_in_the_end_the_watchdog_starves() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        run(&mut pulse, 0, 60_000, true);
        let (feeds, kills) = run(&mut pulse, 60_000, 60_000 + TRUST_MS, false);
        assert_eq!((feeds, kills), (18, 4));
        assert_eq!(run(&mut pulse, 151_000, 400_000, false).0, 0);
    }

    #[test]
    fn restarting_for_ever_earns_no_trust() {
        let mut pulse = Pulse::new(0, true);
        let mut fed_last = 0;
        for now in (0..300_000).step_by(1_000) {
            pulse.started(9, now);
            if pulse.tick(now).contains(&Act::Feed) {
                fed_last = now;
            }
            pulse.ended();
        }
        assert!(fed_last < FIRST_MS);
    }

    #[test]
    fn a_boot_without_an_answer_is_given_up_soon_and_once_it_answered_late() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        assert_eq!(run(&mut pulse, 0, FIRST_MS, false), (5, 1));
        assert!(pulse.tick(FIRST_MS).contains(&Act::Distrust));
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        run(&mut pulse, 0, 10_000, true);
        let until = ASK_MS + TRUST_MS;
        assert!(run(&mut pulse, 10_000, until, false).0 > 15);
        assert!(!pulse.distrusted);
        assert!(pulse.tick(until).contains(&Act::Distrust));
    }

    /// One manager after the other, each of which answers and ends after its time;
    /// when they are distrusted, if they are.
    fn lives(pulse: &mut Pulse, lives_ms: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut now = 0;
        for (life_ms, pid) in lives_ms.into_iter().zip(5..) {
            pulse.started(pid, now);
            run(pulse, now, now + life_ms, true);
            pulse.ended();
            now += life_ms;
            if pulse.distrusted {
                return Some(now);
            }
        }
        None
    }

    #[test]
    fn on_trial_managers_that_die_soon_after_they_answered_are_given_up() {
        for life_ms in [3_000, 10_000, 19_000] {
            let mut pulse = Pulse::new(0, true);
            let given_up = lives(&mut pulse, [life_ms; 100]).unwrap();
            assert!(given_up <= TRUST_MS + FIRST_MS, "{life_ms}: {given_up}");
        }
        // And those after one that had lasted for a while.
        let mut pulse = Pulse::new(0, true);
        let first = [TRUST_MS / 2];
        let given_up = lives(&mut pulse, first.into_iter().chain([5_000; 100]));
        assert!(given_up.unwrap() <= TRUST_MS * 3 / 2 + 5_000);
    }

    #[test]
    fn on_trial_a_manager_may_be_killed_a_few_times() {
        for kills in 1..4 {
            for life_ms in [3_000, 10_000, HANG_MS - 500] {
                let mut pulse = Pulse::new(0, true);
                let killed = std::iter::repeat_n(life_ms, kills);
                let given_up = lives(&mut pulse, killed.chain([600_000]));
                assert_eq!(given_up, None, "{kills} times after {life_ms} ms");
            }
        }
    }

    #[test]
    fn a_version_that_is_good_or_lasts_may_have_its_manager_killed_for_ever() {
        let mut good = Pulse::new(0, false);
        assert_eq!(lives(&mut good, [3_000; 1_000]), None);
        let mut lasts = Pulse::new(0, true);
        let first = [TRUST_MS + 2 * ASK_MS];
        let killed = first.into_iter().chain([3_000; 1_000]);
        assert_eq!(lives(&mut lasts, killed), None);
    }

    #[test]
    fn a_good_version_has_longer_for_its_first_answer() {
        let mut pulse = Pulse::new(0, false);
        pulse.started(5, 0);
        assert_eq!(run(&mut pulse, 0, TRUST_MS, false), (18, 4));
        assert!(pulse.tick(TRUST_MS).contains(&Act::Distrust));
        // A slow start is no reason to restart it.
        let mut pulse = Pulse::new(0, false);
        pulse.started(5, 0);
        run(&mut pulse, 0, TRUST_MS - 5_000, false);
        run(&mut pulse, TRUST_MS - 5_000, TRUST_MS * 2, true);
        assert!(!pulse.distrusted);
    }

    #[test]
    fn a_made_up_answer_counts_for_nothing() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        let before = pulse;
        pulse.answered(0, 50_000);
        pulse.answered(7, 50_000);
        assert_eq!(pulse, before);
    }

    #[test]
    fn a_shutdown_is_fed_to_its_deadline_only() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        pulse.shut_down_by(30_000);
        let (feeds, _) = run(&mut pulse, 0, 200_000, true);
        assert_eq!(feeds, 6, "answers earn no trust any more");
    }

    #[test]
    fn a_manager_that_hangs_in_a_shutdown_is_killed_until_it_has_retired() {
        let mut pulse = Pulse::new(0, true);
        pulse.started(5, 0);
        pulse.shut_down_by(600_000);
        let (_, kills) = run(&mut pulse, 0, 50_000, false);
        assert_eq!(kills, 2);
        pulse.retired();
        let (_, kills) = run(&mut pulse, 50_000, 200_000, false);
        assert_eq!(kills, 0);
    }

    #[test]
    fn nothing_is_due_at_once_when_trust_is_lost() {
        let mut pulse = Pulse::new(0, true);
        assert_eq!(pulse.tick(0), [Act::Feed]);
        assert_eq!(pulse.tick(FIRST_MS), [Act::Distrust]);
        assert_eq!(pulse.wake_ms(), None);
        pulse.started(5, FIRST_MS);
        let _ = pulse.tick(FIRST_MS);
        assert_eq!(pulse.wake_ms(), Some(FIRST_MS + ASK_MS));
        // A shutdown is trusted anew, to its own end.
        pulse.shut_down_by(FIRST_MS + 1_000);
        assert!(pulse.tick(FIRST_MS).contains(&Act::Feed));
        assert_eq!(pulse.wake_ms(), Some(FIRST_MS + 1_000));
        assert_eq!(pulse.tick(FIRST_MS + 1_000), [Act::Distrust]);
    }
}
