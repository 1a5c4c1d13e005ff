//! `kill`: a signal to the container's first process, or to all of them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::delete::cgroup_of;
use crate::cgroup;
use crate::state::{Dir, Record, process};

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const SIGKILL: i32 = 9;
const LAST: i32 = 64;

/// A number, or a name with or without "SIG", in either case.
pub(crate) fn parse_signal(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Ok(index as i32 + 1);
    }
    let offset = |text: &str, sign: char| match text.strip_prefix(sign) {
        Some(digits) => digits.parse::<i32>().ok(),
        None => text.is_empty().then_some(0),
    };
    let realtime = name
        .strip_prefix("RTMIN")
        .and_then(|rest| Some(34 + offset(rest, '+')?))
        .or_else(|| {
            name.strip_prefix("RTMAX")
                .and_then(|rest| Some(LAST - offset(rest, '-')?))
        });
    let number = realtime.or_else(|| text.parse().ok());
    match number {
        Some(number) if (1..=LAST).contains(&number) => Ok(number),
        _ => bail!("{text:?} is no signal; give a name such as TERM or a number from 1 to {LAST}"),
    }
}

pub(crate) fn kill(root: &Path, id: &str, signal: &str, all: bool) -> Result<()> {
    let signal = parse_signal(signal)?;
    let dir = Dir::open_unlocked(root, id)?;
    let record = dir.created_record()?;
    if all {
        return kill_all(&record, signal);
    }
    let Some(pidfd) = process(&record)? else {
        bail!("container not running: {id} has stopped")
    };
    orlop_sys::signal::send(pidfd, signal).map_err(|errno| match errno {
        rustix::io::Errno::SRCH => anyhow::anyhow!("container not running: {id} has stopped"),
        errno => anyhow::Error::from(errno).context(format!("signal container {id}")),
    })
}

fn kill_all(record: &Record, signal: i32) -> Result<()> {
    if record.cgroup.is_some() {
        return match cgroup_of(record) {
            Some(path) if signal == SIGKILL => cgroup::kill(path),
            Some(path) => cgroup::signal(path, signal).map(drop),
            // And with it all that was in it.
            None => Ok(()),
        };
    }
    let id = &record.id;
    let process = process(record)?;
    let pidfd = process.with_context(|| format!("container not running: {id} has stopped"))?;
    ensure!(
        signal == SIGKILL && is_first_of_a_namespace(record.pid)?,
        "kill --all: container {id} has no cgroup to find its processes by. Without --all the \
         first of them gets the signal; KILL to it ends them all if the container has a pid \
         namespace of its own"
    );
    Ok(orlop_sys::signal::send(pidfd, signal)?)
}

/// Whether the process is the first one of a pid namespace other than ours, which ends with it.
fn is_first_of_a_namespace(pid: i32) -> Result<bool> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).context(path)?;
    Ok(is_first(&status))
}

fn is_first(status: &str) -> bool {
    // From our namespace inwards.
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pids: Vec<&str> = pids.unwrap_or_default().split_ascii_whitespace().collect();
    matches!(pids.as_slice(), [_, .., "1"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("HUP", 1),
            ("SYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in [
            "", "0", "65", "-9", "NOPE", "SIG", "RTMIN+99", "RTMINx", "9x",
        ] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn firsts_of_namespaces() {
        for (line, first) in [
            ("NSpid:\t77\t1", true),
            ("NSpid:\t77\t5\t1", true),
            ("NSpid:\t77\t5", false),
            ("NSpid:\t1", false),
            ("Pid:\t1", false),
        ] {
            assert_eq!(is_first(&format!("Name:\tx\n{line}\n")), first, "{line}");
        }
    }
}
