//! When a server that does not give what it should is asked again, and when it is given up. Time and
//! chance are arguments.
//!
//! A site that lost its power is up long before its router is, so an update outlasts hours without
//! the server. All workers go by the same pauses: what one learns of the server counts for all.

use std::time::{Duration, Instant};

use super::Patience;

/// How it is with the server.
#[derive(Debug)]
pub(super) struct Backoff {
    patience: Patience,
    /// When something of use last came.
    came: Instant,
    /// The next pause at its longest.
    pause: Duration,
    trouble: Option<Times>,
    /// When a pause last began.
    failed: Option<Instant>,
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// When the server is asked again.
    pub(super) next: Instant,
    /// When it is given up.
    pub(super) gives_up: Instant,
}

impl Backoff {
    pub(super) fn new(patience: Patience, now: Instant) -> Backoff {
        Backoff {
            patience,
            came: now,
            pause: patience.pauses.0,
            trouble: None,
            failed: None,
        }
    }

    /// Something of use came.
    pub(super) fn came(&mut self, now: Instant) {
        *self = Backoff::new(self.patience, now);
    }

    /// How long the server is to be left alone.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.trouble?.next.saturating_duration_since(now);
        (left > Duration::ZERO).then_some(left)
    }

    /// A request failed that was made at `asked`; `chance` is from 0 to 1, and another one each time,
    /// so that hosts which lost the server together do not ask together.
    ///
    /// # Errors
    /// The server is given up: nothing has come for so long.
    pub(super) fn failed(
        &mut self,
        asked: Instant,
        now: Instant,
        chance: f64,
    ) -> Result<Times, Duration> {
        let quiet = now.saturating_duration_since(self.came);
        if quiet >= self.patience.give_up {
            return Err(quiet);
        }
        if let (Some(times), Some(failed)) = (self.trouble, self.failed)
            && asked <= failed
        {
            // Of several requests that were under way, the first to fail has told already.
            return Ok(times);
        }
        let gives_up = self.came + self.patience.give_up;
        let next = now + self.pause.mul_f64(0.5 + chance / 2.0);
        let times = Times {
            next: next.min(gives_up),
            gives_up,
        };
        self.pause = (self.pause * 2).min(self.patience.pauses.1);
        self.trouble = Some(times);
        self.failed = Some(now);
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asks whenever it may, of a server that is away; the pauses, and how long that went on.
    fn away(chance: f64) -> (Vec<Duration>, Duration) {
        let start = Instant::now();
        let mut backoff = Backoff::new(Patience::default(), start);
        let (mut now, mut pauses) = (start, Vec::new());
        loop {
            let asked = now;
            now += SECOND / 10;
            match backoff.failed(asked, now, chance) {
                Ok(times) => {
                    assert_eq!(times.gives_up, start + Patience::default().give_up);
                    pauses.push(times.next - now);
                    assert_eq!(backoff.left(now), Some(times.next - now));
                    now = times.next;
                    assert_eq!(backoff.left(now), None);
                }
                Err(quiet) => return (pauses, quiet),
            }
        }
    }

    #[test]
    fn a_server_is_asked_for_hours_ever_less_often() {
        let patience = Patience::default();
        for chance in [0.0, 0.5, 1.0] {
            let (pauses, quiet) = away(chance);
            assert!(quiet >= 12 * 3600 * SECOND && quiet < (12 * 3600 + 1) * SECOND);
            let most = patience.pauses.1.mul_f64(0.5 + chance / 2.0);
            let (last, grown) = pauses.split_last().unwrap();
            assert!(*last <= most && grown[grown.len() - 1] == most);
            assert!(grown.is_sorted(), "{pauses:?}");
            assert!(grown[0] <= patience.pauses.0 && pauses.len() < 400);
        }
        assert!(away(0.0).0[0] < away(1.0).0[0], "hosts ask together");
    }

    #[test]
    fn what_comes_begins_it_anew() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Patience::default(), start);
        let first = backoff.failed(start, start + SECOND, 1.0).unwrap();
        let again = backoff.failed(first.next, first.next, 1.0).unwrap();
        assert_eq!(again.next - first.next, 2 * (first.next - start - SECOND));
        let later = start + 10 * 3600 * SECOND;
        backoff.came(later);
        assert_eq!(backoff.left(later), None);
        let anew = backoff.failed(later, later, 1.0).unwrap();
        assert_eq!(anew.next - later, Patience::default().pauses.0);
        assert_eq!(anew.gives_up, later + Patience::default().give_up);
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Patience::default(), start);
        let first = backoff.failed(start, start + 15 * SECOND, 1.0).unwrap();
        for late in [15, 16, 20] {
            let again = backoff.failed(start, start + late * SECOND, 0.3);
            assert_eq!(again, Ok(first));
        }
    }
}
