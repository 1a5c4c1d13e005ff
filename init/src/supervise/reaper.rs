//! The one place that reaps.

use super::exits::Exit;
use super::{Ending, Supervisor, keeper};
use crate::{clock, files};
use orlop_sys::children::{self, Which};
use orlop_sys::wait::Ended;

/// The most children reaped in one turn, so that the rest of the loop is heard.
const MAX_A_TURN: usize = 256;

impl Supervisor {
    /// Reaps what has ended; whether there may be more of it, of which no signal
    /// will tell. With the table of exits full only the manager is reaped: the
    /// others stay zombies, their statuses with the kernel, until the manager's
    /// acknowledgements make room and wake PID 1 by that.
    pub(super) fn reap(&mut self) -> bool {
        a_turn(|| self.reap_one())
    }

    /// Reaps one child, if there is one to reap.
    fn reap_one(&mut self) -> bool {
        let room = !self.exits.is_full() || self.is_burying();
        let peeked = whom(room, self.keeper.pid()).map(children::peek);
        let Some(Ok(Some((pid, _)))) = peeked else {
            return false;
        };
        // Only a zombie's stat still tells when it started.
        let start_time = start_time(pid);
        let Ok(Some((_, ended))) = children::reap(pid) else {
            return false;
        };
        self.buried(pid, start_time, ended);
        true
    }

    /// Whether nobody is left to hear of an exit.
    fn is_burying(&self) -> bool {
        matches!(
            self.ending,
            Some(Ending::Terminating { .. } | Ending::Killing { .. })
        )
    }

    fn buried(&mut self, pid: i32, start_time: u64, ended: Ended) {
        if self.keeper.pid() == Some(pid) {
            return self.manager_ended(pid, ended);
        }
        if self.is_burying() {
            return;
        }
        let (code, signal) = match ended {
            Ended::Exited(code) => (Some(code), None),
            Ended::Killed(signal) => (None, Some(signal)),
        };
        let exit = Exit {
            pid,
            start_time,
            code,
            signal,
            at_ms: clock::wall_ms(),
        };
        self.exits.record(exit);
        if self.link.is_some() {
            self.outbox.exit(&exit);
        }
    }

    fn manager_ended(&mut self, pid: i32, ended: Ended) {
        // What it said last is usually why.
        self.output.relay(&self.console);
        // What it sent before it died counts: a descriptor kept, an exit recorded.
        // What it was still to be told does not, and would keep it from being heard.
        self.outbox.clear();
        for _ in 0..MAX_A_TURN {
            self.hear();
        }
        self.link = None;
        self.outbox.clear();
        self.pulse.ended();
        let now_ms = clock::now_ms();
        self.keeper = self.keeper.step(keeper::Event::Exited(pid), now_ms).0;
        let how = match ended {
            Ended::Exited(code) => format!("exited with {code}"),
            Ended::Killed(signal) => format!("was ended by signal {signal}"),
        };
        let wait_ms = self.keeper.wake_ms().map(|due| due.saturating_sub(now_ms));
        let next = wait_ms
            .map(|ms| format!("; starting it again in {ms} ms"))
            .unwrap_or_default();
        let last = self.output.take_last();
        let said = if last.is_empty() {
            String::new()
        } else {
            format!(" (it said: {last})")
        };
        self.console.say(&format!("the manager {how}{said}{next}"));
    }
}

/// Whom to reap: without `room` for an exit only the manager, whose own is not
/// kept.
fn whom(room: bool, manager: Option<i32>) -> Option<Which> {
    match (room, manager) {
        (true, _) => Some(Which::Any),
        (false, Some(manager)) => Some(Which::Pid(manager)),
        (false, None) => None,
    }
}

/// Does `one` until it finds nothing to do, or until the turn is over; whether
/// it was the turn that ended it.
fn a_turn(mut one: impl FnMut() -> bool) -> bool {
    (0..MAX_A_TURN).all(|_| one())
}

/// Whether PID 1 has no child at all, and so no process is left.
pub(super) fn is_alone() -> bool {
    children::any() == Ok(false)
}

/// When the process started, in clock ticks since boot; 0 when it cannot be told.
fn start_time(pid: i32) -> u64 {
    let stat = files::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_start_time(&stat).unwrap_or(0)
}

/// Field 22. The name, field 2, may hold spaces and parentheses itself.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_leaves_some_says_so() {
        for (ended, more) in [
            (0, false),
            (3, false),
            (MAX_A_TURN, true),
            (MAX_A_TURN + 1, true),
        ] {
            let mut left = ended;
            let mut one = || {
                let some = left > 0;
                left = left.saturating_sub(1);
                some
            };
            assert_eq!(a_turn(&mut one), more, "{ended}");
            // The turns that follow get to all of them.
            while a_turn(&mut one) {}
            assert!(!one(), "{ended}");
        }
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "they are what is looked at")]
    fn without_room_for_an_exit_its_process_stays_a_zombie() {
        let start = || {
            let child = std::process::Command::new("true").spawn().unwrap();
            i32::try_from(child.id()).unwrap()
        };
        let (container, manager) = (start(), start());
        let is_zombie = |pid| {
            let stat = files::read(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") Z ")
        };
        while !(is_zombie(container) && is_zombie(manager)) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(whom(false, None).is_none());
        let found = whom(false, Some(manager)).map(children::peek);
        assert!(matches!(found, Some(Ok(Some((pid, _)))) if pid == manager));
        children::reap(manager).unwrap();
        let found = whom(false, Some(manager)).map(children::peek);
        assert!(!matches!(found, Some(Ok(Some(_)))));
        assert!(is_zombie(container));
        assert!(matches!(whom(true, Some(manager)), Some(Which::Any)));
        assert!(children::reap(container).unwrap().is_some());
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        for name in ["sh", "a b", ") 1 2 3 (", "((("] {
            let stat = format!("77 ({name}) {}", fields.join(" "));
            assert_eq!(parse_start_time(&stat), Some(22), "{name}");
        }
        for bad in ["", "77", "77 (sh) S 1"] {
            assert_eq!(parse_start_time(bad), None);
        }
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own) > 0);
    }
}
