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
    /// Time from one statistics to the next, as in 5s, 500ms or 1m30s
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

/// Numbers with the units h, m, s and ms, one after the other.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; give one above zero, as in 5s, 500ms or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let number: u32 = number.parse().map_err(|_| wrong())?;
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let one = match &after[..unit] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return Err(wrong()),
        };
        total = one
            .checked_mul(number)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &after[unit..];
    }
    // A day too many would not fit the clock; no time at all would be a busy loop.
    if total.is_zero() || total > Duration::from_secs(366 * 86_400) {
        return Err(wrong());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(expected),
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
