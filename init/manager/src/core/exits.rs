//! The exits of a unit's containers, each exactly once, on the state partition.
//!
//! An exit is acknowledged to PID 1 only once it is here; PID 1 tells it again
//! until then. So an exit that is told twice must be known by pid and start
//! time, and a line that a kill or a power cut tore off must go.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How many exits are kept of a unit at most; half of them go at a time.
const KEPT_MAX: usize = 1024;

/// One exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The boot in which it was.
    pub boot: String,
    /// The process.
    pub pid: i32,
    /// The process's start, in clock ticks.
    pub start_time: u64,
    /// Exit code.
    pub code: Option<i32>,
    /// Signal.
    pub signal: Option<i32>,
    /// The memory limit was why.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

impl Recorded {
    fn same_process(&self, other: &Recorded) -> bool {
        (&self.boot, self.pid, self.start_time) == (&other.boot, other.pid, other.start_time)
    }
}

fn file(dir: &Path, unit: &str) -> PathBuf {
    dir.join(format!("{unit}.ndjson"))
}

/// Where a file goes that holds lines which cannot be read.
fn set_aside(dir: &Path, unit: &str) -> PathBuf {
    dir.join(format!("{unit}.ndjson.damaged"))
}

/// What a unit's file holds.
#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    exits: Vec<Recorded>,
    /// Some whole line is not an exit.
    damaged: bool,
}

fn contents(dir: &Path, unit: &str) -> Result<Contents> {
    let bytes = match std::fs::read(file(dir, unit)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Contents::default());
        }
        bytes => bytes?,
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    // A torn line ends with no line feed.
    let whole = lines.filter(|line| line.ends_with(b"\n"));
    let read: Vec<Option<Recorded>> = whole
        .map(|line| serde_json::from_slice(line).ok())
        .collect();
    Ok(Contents {
        damaged: read.contains(&None),
        exits: read.into_iter().flatten().collect(),
        bytes,
    })
}

/// The exits of a unit, oldest first.
pub fn load(dir: &Path, unit: &str) -> Result<Vec<Recorded>> {
    Ok(contents(dir, unit)?.exits)
}

/// Records an exit, lastingly. False when it was on record already.
///
/// Lines that cannot be read do not keep new ones from the record: the file is
/// set aside as it is, and goes on with those that can.
pub fn record(dir: &Path, unit: &str, exit: &Recorded) -> Result<bool> {
    let Contents {
        bytes,
        exits: mut known,
        damaged,
    } = contents(dir, unit)?;
    if known.iter().any(|other| other.same_process(exit)) {
        return Ok(false);
    }
    std::fs::create_dir_all(dir)?;
    let path = file(dir, unit);
    let line = |exit: &Recorded| -> Result<String> { Ok(serde_json::to_string(exit)? + "\n") };
    let whole = path.exists() && (bytes.is_empty() || bytes.ends_with(b"\n"));
    if whole && !damaged && known.len() < KEPT_MAX {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(line(exit)?.as_bytes())?;
        file.sync_data()?;
        return Ok(true);
    }
    if damaged {
        crate::durable::replace(&set_aside(dir, unit), &bytes, true)?;
        tracing::error!("{}", damage(dir, unit));
    }
    if known.len() >= KEPT_MAX {
        known.drain(..KEPT_MAX / 2);
    }
    known.push(exit.clone());
    let text = known.iter().map(line).collect::<Result<String>>()?;
    crate::durable::replace(&path, text.as_bytes(), true)?;
    Ok(true)
}

fn damage(dir: &Path, unit: &str) -> String {
    format!(
        "the exits of {unit} had lines that cannot be read; they are kept in {} until the unit is \
         removed",
        set_aside(dir, unit).display()
    )
}

/// What an operator is to know of a unit's file that was set aside.
pub(super) fn damaged(dir: &Path, unit: &str) -> Option<String> {
    set_aside(dir, unit).exists().then(|| damage(dir, unit))
}

/// Exits that could not be put on record yet, in the order in which they came.
///
/// PID 1 keeps each until it is acknowledged, and no more than its table holds,
/// so there are never many.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    waiting: Vec<(String, Recorded)>,
    /// Why the last try failed.
    problem: String,
}

impl Unrecorded {
    /// Takes up what an earlier manager could not record for `unit`.
    pub(super) fn restore(&mut self, unit: &str, exits: Vec<Recorded>) {
        let exits = exits.into_iter().map(|exit| (unit.to_owned(), exit));
        self.waiting.extend(exits);
    }

    /// Those of `unit`, oldest first.
    pub(super) fn of(&self, unit: &str) -> Vec<Recorded> {
        let waiting = self.waiting.iter().filter(|(other, _)| other == unit);
        waiting.map(|(_, exit)| exit.clone()).collect()
    }

    /// Whether this exit waits here.
    pub(super) fn holds(&self, exit: &Recorded) -> bool {
        self.waiting
            .iter()
            .any(|(_, other)| other.same_process(exit))
    }

    /// Records an exit as [`record`] does; nothing when it has to wait.
    pub(super) fn record(&mut self, dir: &Path, unit: &str, exit: &Recorded) -> Option<bool> {
        // The newest exit of a unit is its last one on record.
        if !self.has(unit) {
            match record(dir, unit, exit) {
                Ok(new) => return Some(new),
                Err(error) => {
                    tracing::error!("the exit of {unit} cannot be put on record: {error}");
                    self.problem = error.to_string();
                }
            }
        }
        self.waiting.push((unit.to_owned(), exit.clone()));
        None
    }

    /// Tries again. Gives those that nothing is to be done for any more: they
    /// are on record, or their unit is gone and its record with it.
    pub(super) fn settle(&mut self, dir: &Path, exists: impl Fn(&str) -> bool) -> Vec<Recorded> {
        let mut settled = Vec::new();
        for (unit, exit) in std::mem::take(&mut self.waiting) {
            if !exists(&unit) {
                settled.push(exit);
            } else if self.has(&unit) {
                self.waiting.push((unit, exit));
            } else if let Err(error) = record(dir, &unit, &exit) {
                self.problem = error.to_string();
                self.waiting.push((unit, exit));
            } else {
                settled.push(exit);
            }
        }
        settled
    }

    /// What an operator is to know of those that wait.
    pub(super) fn warning(&self) -> Option<String> {
        let units: BTreeSet<&str> = self.waiting.iter().map(|(unit, _)| unit.as_str()).collect();
        let units = units.into_iter().collect::<Vec<_>>().join(", ");
        let problem = &self.problem;
        (!self.waiting.is_empty())
            .then(|| format!("exits cannot be put on record, of {units}: {problem}"))
    }

    fn has(&self, unit: &str) -> bool {
        self.waiting.iter().any(|(other, _)| other == unit)
    }
}

/// Forgets a unit's exits.
pub fn forget(dir: &Path, unit: &str) {
    let _ = std::fs::remove_file(file(dir, unit));
    let _ = std::fs::remove_file(set_aside(dir, unit));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(pid: i32) -> Recorded {
        Recorded {
            boot: "b".to_owned(),
            pid,
            start_time: 7,
            code: Some(pid),
            signal: None,
            out_of_memory: false,
            at_ms: 1,
        }
    }

    #[test]
    fn an_exit_is_on_record_once_however_often_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for pid in [1, 2, 2, 1, 3] {
            record(dir.path(), "web", &exit(pid)).unwrap();
        }
        let pids: Vec<i32> = load(dir.path(), "web")
            .unwrap()
            .iter()
            .map(|e| e.pid)
            .collect();
        assert_eq!(pids, [1, 2, 3]);
    }

    #[test]
    fn a_torn_line_is_told_again_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), "web", &exit(1)).unwrap();
        record(dir.path(), "web", &exit(2)).unwrap();
        let path = file(dir.path(), "web");
        let whole = std::fs::read(&path).unwrap();
        for length in whole.len() / 2 + 1..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(record(dir.path(), "web", &exit(2)).unwrap(), "{length}");
            assert_eq!(load(dir.path(), "web").unwrap(), [exit(1), exit(2)]);
        }
    }

    #[test]
    fn an_exit_that_cannot_be_recorded_waits_and_is_recorded_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let exits = dir.path().join("exits");
        // A file in the directory's place stands for a disk that refuses.
        std::fs::write(&exits, "").unwrap();
        let mut unrecorded = Unrecorded::default();
        assert_eq!(unrecorded.warning(), None);
        assert_eq!(unrecorded.record(&exits, "web", &exit(1)), None);
        assert!(unrecorded.holds(&exit(1)) && !unrecorded.holds(&exit(2)));
        assert!(unrecorded.settle(&exits, |_| true).is_empty());
        assert!(unrecorded.warning().unwrap().contains("of web: "));
        std::fs::remove_file(&exits).unwrap();
        // The older one goes first, though this one could be recorded now.
        assert_eq!(unrecorded.record(&exits, "web", &exit(2)), None);
        assert_eq!(unrecorded.record(&exits, "db", &exit(3)), Some(true));
        assert_eq!(unrecorded.settle(&exits, |_| true), [exit(1), exit(2)]);
        assert_eq!(load(&exits, "web").unwrap(), [exit(1), exit(2)]);
        assert_eq!(unrecorded.warning(), None);
    }

    #[test]
    fn an_exit_of_a_unit_that_is_gone_is_settled_without_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let exits = dir.path().join("exits");
        std::fs::write(&exits, "").unwrap();
        let mut unrecorded = Unrecorded::default();
        assert_eq!(unrecorded.record(&exits, "web", &exit(1)), None);
        std::fs::remove_file(&exits).unwrap();
        assert_eq!(unrecorded.settle(&exits, |_| false), [exit(1)]);
        assert!(load(&exits, "web").unwrap().is_empty());
    }

    #[test]
    fn the_record_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for pid in 0..KEPT_MAX as i32 + 10 {
            record(dir.path(), "web", &exit(pid)).unwrap();
        }
        let known = load(dir.path(), "web").unwrap();
        assert!(known.len() <= KEPT_MAX);
        assert_eq!(known.last().unwrap().pid, KEPT_MAX as i32 + 9);
    }

    #[test]
    fn lines_that_cannot_be_read_are_set_aside_and_said() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [&b"\xff\xfe\n"[..], b"{\"pid\": 1}\n", b"\n"] {
            let dir = dir.path().join("exits");
            record(&dir, "web", &exit(1)).unwrap();
            assert_eq!(damaged(&dir, "web"), None);
            let path = file(&dir, "web");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend(bad);
            std::fs::write(&path, &bytes).unwrap();
            assert!(record(&dir, "web", &exit(2)).unwrap(), "{bad:?}");
            assert_eq!(load(&dir, "web").unwrap(), [exit(1), exit(2)]);
            assert_eq!(std::fs::read(set_aside(&dir, "web")).unwrap(), bytes);
            assert!(damaged(&dir, "web").unwrap().contains("web.ndjson.damaged"));
            // The file is whole again: the next one is appended.
            assert!(record(&dir, "web", &exit(3)).unwrap());
            assert_eq!(std::fs::read(set_aside(&dir, "web")).unwrap(), bytes);
            forget(&dir, "web");
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        }
    }
}
