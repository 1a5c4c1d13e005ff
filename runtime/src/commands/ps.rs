//! `ps`: the processes of a container, as the host sees them.
//!
//! Without options of ps the table is made here, from /proc: an Orlop host has no `ps`. With
//! options the host's `ps` is run with them, as runc does, and of what it prints the lines of
//! the container's processes are kept; a host without one is told so. (podman and containerd
//! ask for the ids only, as JSON, and look at the processes themselves.)

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::pause::own_cgroup;
use super::print;
use crate::cgroup;
use crate::cli::ListFormat;
use crate::state::{Dir, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A table, or the ids as JSON
    #[arg(long, short, value_enum, default_value_t = ListFormat::Table)]
    format: ListFormat,
    id: String,
    /// Options for the host's ps
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PS OPTIONS"
    )]
    options: Vec<String>,
}

pub(crate) fn ps(root: &Path, args: &Args) -> Result<()> {
    let dir = Dir::open_unlocked(root, &args.id)?;
    let record = dir.created_record()?;
    if process(&record)?.is_none() {
        bail!("container not running: {} has stopped", args.id);
    }
    let pids = cgroup::processes(own_cgroup(&record)?)?;
    let options: Vec<&String> = args.options.iter().filter(|o| !o.is_empty()).collect();
    match args.format {
        ListFormat::Json => print(&serde_json::to_string(&pids)?),
        ListFormat::Table if options.is_empty() => print(&own_table(&pids)),
        ListFormat::Table => print(&host_table(&options, &pids)?),
    }
}

fn host_table(options: &[&String], pids: &[i32]) -> Result<String> {
    let output = Command::new("ps")
        .args(options)
        .output()
        .context("run the host's ps, which the options are for (without options none is needed)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ps {options:?}: {}",
        said.trim().replace('\n', "; ")
    );
    lines_of(&String::from_utf8_lossy(&output.stdout), pids)
}

/// The heading and the lines of these processes.
fn lines_of(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_ascii_whitespace()
        .position(|title| title == "PID")
        .context("ps prints no column PID with these options, so whose lines are they?")?;
    let ours = lines.filter(|line| {
        let pid = line.split_ascii_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    });
    Ok([heading]
        .into_iter()
        .chain(ours)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// One process, as far as the table shows it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    user: String,
    pid: i32,
    parent: i32,
    terminal: String,
    /// Processor time.
    seconds: u64,
    command: String,
}

fn own_table(pids: &[i32]) -> String {
    let mut table = format!(
        "{:8} {:>7} {:>7} {:8} {:>8} CMD",
        "UID", "PID", "PPID", "TTY", "TIME"
    );
    // One that ended meanwhile is left out.
    for row in pids.iter().filter_map(|pid| read(*pid)) {
        let (hours, minutes) = (row.seconds / 3600, row.seconds / 60 % 60);
        let time = format!("{hours:02}:{minutes:02}:{:02}", row.seconds % 60);
        table.push_str(&format!(
            "\n{:8} {:>7} {:>7} {:8} {time:>8} {}",
            row.user, row.pid, row.parent, row.terminal, row.command
        ));
    }
    table
}

fn read(pid: i32) -> Option<Row> {
    let file = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    parse(
        pid,
        &String::from_utf8_lossy(&file("stat")?),
        &String::from_utf8_lossy(&file("status")?),
        &file("cmdline")?,
        rustix::param::clock_ticks_per_second(),
    )
}

fn parse(pid: i32, stat: &str, status: &str, command: &[u8], ticks: u64) -> Option<Row> {
    let (name, rest) = stat.rsplit_once(')')?;
    let (_, name) = name.split_once('(')?;
    // From the third field of proc_pid_stat(5) on.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut command = String::from_utf8_lossy(command).into_owned();
    while command.ends_with('\0') {
        command.pop();
    }
    if command.is_empty() {
        command = format!("[{name}]");
    }
    Some(Row {
        user: user.split_ascii_whitespace().nth(1)?.to_owned(),
        pid,
        parent: i32::try_from(number(4)?).ok()?,
        terminal: terminal(number(7)?),
        seconds: (number(14)? + number(15)?) / ticks.max(1),
        command: harmless(&command),
    })
}

/// A process names itself as it likes; what it likes must not reach a terminal as it is.
fn harmless(text: &str) -> String {
    let shown = |c| match c {
        '\0' => ' ',
        c if char::is_control(c) => '?',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The kernel's number of a terminal by the usual name: the low byte and the highest twelve
/// bits are the minor number, those between the major.
fn terminal(number: u64) -> String {
    let (major, minor) = (
        (number >> 8) & 0xfff,
        (number & 0xff) | ((number >> 12) & 0xfff00),
    );
    match (major, minor) {
        (0, 0) => "?".to_owned(),
        (136..=143, minor) => format!("pts/{}", minor + (major - 136) * 256),
        (4, minor @ 0..64) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        (major, minor) => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read() {
        let stat = "7 (a) b) S 5 7 7 34817 7 0 0 0 0 0 250 150 0 0 20 0 1 0 99 1 1";
        let status = "Name:\ta) b\nUid:\t1\t1000\t1\t1\n";
        let row = |command: &[u8]| parse(7, stat, status, command, 100).unwrap();
        let expected = Row {
            user: "1000".into(),
            pid: 7,
            parent: 5,
            terminal: "pts/1".into(),
            seconds: 4,
            command: "sh -c ?[2J".into(),
        };
        assert_eq!(row(b"sh\0-c\0\x1b[2J\0"), expected);
        assert_eq!(row(b"").command, "[a) b]");
        assert_eq!(parse(7, "7 (a", status, b"", 100), None);
        assert_eq!(parse(7, "7 (a) S 5", status, b"", 100), None);
    }

    #[test]
    fn terminals() {
        for (number, name) in [
            (0, "?"),
            (136 << 8, "pts/0"),
            ((136 << 8) | 0x2c | (1 << 20), "pts/300"),
            ((4 << 8) | 1, "tty1"),
            ((4 << 8) | 65, "ttyS1"),
            ((5 << 8) | 1, "5:1"),
        ] {
            assert_eq!(terminal(number), name);
        }
    }

    #[test]
    fn lines_of_the_hosts_ps() {
        let table = "USER PID CMD\nroot 1 init\nroot 12 sh 1\nroot 112 x\n";
        assert_eq!(
            lines_of(table, &[12]).unwrap(),
            "USER PID CMD\nroot 12 sh 1"
        );
        assert!(lines_of("CMD\nsh\n", &[12]).is_err());
    }
}
