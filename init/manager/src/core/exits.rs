//! The exits of a unit's containers, each exactly once, on the state partition.
//!
//! An exit is acknowledged to PID 1 only once it is here; PID 1 tells it again
//! until then. So an exit that is told twice must be known by pid and start
//! time, and a line that a kill or a power cut tore off must go.

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

/// The exits of a unit, oldest first.
pub fn load(dir: &Path, unit: &str) -> Result<Vec<Recorded>> {
    match std::fs::read_to_string(file(dir, unit)) {
        // A torn line ends with no line feed.
        Ok(text) => Ok(text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Records an exit, lastingly. False when it was on record already.
pub fn record(dir: &Path, unit: &str, exit: &Recorded) -> Result<bool> {
    let mut known = load(dir, unit)?;
    if known.iter().any(|other| other.same_process(exit)) {
        return Ok(false);
    }
    std::fs::create_dir_all(dir)?;
    let path = file(dir, unit);
    let line = |exit: &Recorded| -> Result<String> { Ok(serde_json::to_string(exit)? + "\n") };
    let whole = std::fs::read(&path).is_ok_and(|bytes| bytes.is_empty() || bytes.ends_with(b"\n"));
    if whole && known.len() < KEPT_MAX {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(line(exit)?.as_bytes())?;
        file.sync_data()?;
        return Ok(true);
    }
    if known.len() >= KEPT_MAX {
        known.drain(..KEPT_MAX / 2);
    }
    known.push(exit.clone());
    let text = known.iter().map(line).collect::<Result<String>>()?;
    crate::durable::replace(&path, text.as_bytes(), true)?;
    Ok(true)
}

/// Forgets a unit's exits.
pub fn forget(dir: &Path, unit: &str) {
    let _ = std::fs::remove_file(file(dir, unit));
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
    fn the_record_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for pid in 0..KEPT_MAX as i32 + 10 {
            record(dir.path(), "web", &exit(pid)).unwrap();
        }
        let known = load(dir.path(), "web").unwrap();
        assert!(known.len() <= KEPT_MAX);
        assert_eq!(known.last().unwrap().pid, KEPT_MAX as i32 + 9);
    }
}
