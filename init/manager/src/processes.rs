//! The processes that run on the host, as `/proc` tells.
//!
//! Processes come and go while they are read: what has gone is left out.

use std::path::Path;

use orlop_control::types::{ProcessList, ProcessStatus};

use crate::durable::read_bounded;

/// The most processes in one answer.
const PROCESSES_MAX: usize = 1000;

/// A file of `/proc` is smaller than this.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// The kernel's flag of its own threads (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Lists what `proc` shows, by process id.
pub fn list(proc: &Path) -> std::io::Result<ProcessList> {
    let mut pids: Vec<u32> = std::fs::read_dir(proc)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let ticks = rustix::param::clock_ticks_per_second();
    let mut list = ProcessList::default();
    for pid in pids {
        let dir = proc.join(pid.to_string());
        let text = |name: &str| -> Option<String> {
            let bytes = read_bounded(&dir.join(name), FILE_BYTES_MAX).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let Some(mut process) = text("stat").and_then(|stat| of_stat(pid, &stat, ticks)) else {
            continue;
        };
        if list.processes.len() >= PROCESSES_MAX {
            list.dropped = list.dropped.saturating_add(1);
            continue;
        }
        process.unit = text("cgroup").and_then(|groups| unit_of(&groups));
        process.memory = text("smaps_rollup").and_then(|rollup| memory_of(&rollup));
        list.processes.push(process);
    }
    Ok(list)
}

/// What `/proc/PID/stat` says; none of a kernel thread.
fn of_stat(pid: u32, stat: &str, ticks_per_second: u64) -> Option<ProcessStatus> {
    // The name may hold anything, closing brackets too.
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // As proc(5) numbers them; the state, the third, is the first after the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    if number(9)? & KERNEL_THREAD != 0 {
        return None;
    }
    let ms = |ticks: u64| ticks.saturating_mul(1000) / ticks_per_second.max(1);
    Some(ProcessStatus {
        pid,
        parent: u32::try_from(number(4)?).ok()?,
        name: name.replace(char::is_control, "?"),
        unit: None,
        started_ms: ms(number(22)?),
        cpu_ms: ms(number(14)?.saturating_add(number(15)?)),
        memory: None,
    })
}

/// The unit whose group, `/orlop/NAME`, the process is in or below.
fn unit_of(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let name = path.strip_prefix("/orlop/")?.split('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The proportional share in bytes.
fn memory_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "120 (a) b\u{1b}(c) S 7 120 120 0 -1 4194560 151 0 0 0 12 30 0 0 20 0 1 \
        0 2345 1000 10 18446744073709551615 0 0 0 0";

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let read = of_stat(120, STAT, 100).unwrap();
        let expected = ProcessStatus {
            pid: 120,
            parent: 7,
            name: "a) b?(c".into(),
            started_ms: 23_450,
            cpu_ms: 420,
            ..ProcessStatus::default()
        };
        assert_eq!(read, expected);
        let thread = STAT.replace("4194560", "2129984");
        assert_eq!(of_stat(120, &thread, 100), None, "a kernel thread");
        for torn in ["", "120", "120 (a)", "120 (a) S 7 1"] {
            assert_eq!(of_stat(120, torn, 100), None, "{torn:?}");
        }
    }

    #[test]
    fn units_are_told_by_their_group() {
        for (groups, unit) in [
            ("0::/orlop/web\n", Some("web")),
            ("1:cpu:/x\n0::/orlop/web/inner\n", Some("web")),
            ("0::/\n", None),
            ("0::/orlop\n", None),
            ("0::/orlop/\n", None),
            ("0::/other/web\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups).as_deref(), unit, "{groups:?}");
        }
        assert_eq!(
            memory_of("Rss:  9 kB\nPss:                  7 kB\n"),
            Some(7168)
        );
        assert_eq!(memory_of(""), None);
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        let list = list(Path::new("/proc")).unwrap();
        let own = std::process::id();
        let found = list.processes.iter().find(|process| process.pid == own);
        let found = found.expect("the test itself");
        assert_eq!(found.unit, None);
        assert!(
            found.memory.is_some_and(|bytes| bytes > 100_000),
            "{found:?}"
        );
        assert!(found.started_ms > 0);
    }

    #[test]
    fn more_than_one_answer_holds_are_counted() {
        let proc = tempfile::tempdir().unwrap();
        for pid in 1..=PROCESSES_MAX + 3 {
            let dir = proc.path().join(pid.to_string());
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("stat"), STAT).unwrap();
        }
        std::fs::create_dir(proc.path().join("sys")).unwrap();
        let list = list(proc.path()).unwrap();
        assert_eq!((list.processes.len(), list.dropped), (PROCESSES_MAX, 3));
        assert_eq!(list.processes[1].pid, 2, "in the order of numbers");
    }
}
