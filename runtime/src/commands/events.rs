//! `events`: what a container uses, once or again and again, and when it ran out of memory.
//!
//! It sleeps in poll until the next statistics are due, the count of processes killed for
//! memory changed, the container ended, or nobody reads its output any more.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use super::pause::own_cgroup;
use super::print;
use crate::cgroup::{self, Watched, timespec};
use crate::state::{Dir, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the statistics once and leave
    #[arg(long)]
    stats: bool,
    /// Time from one statistics to the next, as in 5s, 500ms or 1m1.5s
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    interval: Duration,
    id: String,
}

pub(crate) fn events(root: &Path, args: &Args) -> Result<()> {
    let id = &args.id;
    let dir = Dir::open_unlocked(root, id)?;
    let record = dir.created_record()?;
    let Some(process) = process(&record)? else {
        bail!("container not running: {id} has stopped")
    };
    let path = own_cgroup(&record)?;
    if args.stats {
        return print(&line(id, "stats", Some(cgroup::stats(path))));
    }
    // Without the memory controller nothing is ever killed by this cgroup.
    let mut memory = Watched::open(path, "memory.events").ok();
    let mut killed = memory.as_ref().map_or(0, kills);
    let mut due = Instant::now() + args.interval;
    let stdout = rustix::stdio::stdout();
    loop {
        let mut fds = vec![
            PollFd::new(&process, PollFlags::IN),
            // Nothing is waited for; that the other end is closed is told all the same.
            PollFd::from_borrowed_fd(stdout, PollFlags::empty()),
        ];
        fds.extend(
            memory
                .iter()
                .map(|memory| PollFd::new(memory, PollFlags::PRI)),
        );
        let left = timespec(due.saturating_duration_since(Instant::now()));
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).context("wait for events")?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            return Ok(());
        }
        let now = memory.as_ref().map_or(killed, kills);
        for _ in killed..now {
            print(&line(id, "oom", None))?;
        }
        killed = killed.max(now);
        if ready[0] {
            return Ok(());
        }
        if ready.get(2) == Some(&true) && !path.exists() {
            // Somebody moved the process elsewhere; the file would tell of that for ever.
            memory = None;
        }
        if Instant::now() >= due {
            print(&line(id, "stats", Some(cgroup::stats(path))))?;
            due = Instant::now() + args.interval;
        }
    }
}

/// How many processes the kernel killed because the cgroup's memory was used up.
fn kills(memory: &Watched) -> u64 {
    memory.value("oom_kill").ok().flatten().unwrap_or(0)
}

fn line(id: &str, kind: &str, data: Option<Value>) -> String {
    let mut event = json!({ "type": kind, "id": id });
    if let Some(data) = data {
        event["data"] = data;
    }
    event.to_string()
}

/// As Go has it: decimal numbers with units, one after the other.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; give one above zero, as in 5s, 500ms or 1m1.5s");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).ok_or_else(wrong)?);
        let (unit, next) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        total = nanoseconds(number, unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = next;
    }
    // A day too many would not fit the clock; no time at all would be a busy loop.
    let nanoseconds = u64::try_from(total).map_err(|_| wrong())?;
    let total = Duration::from_nanos(nanoseconds);
    if total.is_zero() || total > Duration::from_secs(366 * 86_400) {
        return Err(wrong());
    }
    Ok(total)
}

fn nanoseconds(number: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // More digits would be less than a nanosecond, of an hour too.
    let part = part.get(..15).unwrap_or(part);
    let digits = format!("{whole}{part}").parse::<u128>().ok()?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    Some(digits.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", 5_000_000),
            ("500ms", 500_000),
            ("1m30s", 90_000_000),
            ("2h", 7_200_000_000),
            ("1.5s", 1_500_000),
            ("+.5m5.s", 35_000_000),
            ("1ms2us3µs4000ns", 1_009),
            ("0.1234567890123456789s", 123_456),
        ] {
            assert_eq!(
                parse_duration(text).unwrap().as_micros(),
                expected,
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "0s",
            "5x",
            "5s5",
            "1.2.3s",
            ".s",
            "1s-1ms",
            "1sm",
            "0.1ns",
            "99999999999s",
            "4000000000h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn events_are_lines_of_json() {
        assert_eq!(line("a", "oom", None), r#"{"id":"a","type":"oom"}"#);
        let stats: Value = serde_json::from_str(&line("a", "stats", Some(json!({})))).unwrap();
        assert_eq!(stats, json!({"type": "stats", "id": "a", "data": {}}));
    }
}
