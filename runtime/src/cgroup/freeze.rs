//! Stopping and resuming all processes of a cgroup.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::describe;
use super::watched::Watched;

/// How long processes may take to stop, or to run again.
const WITHIN: Duration = Duration::from_secs(10);

/// Whether the cgroup itself was told to be frozen. (One above it may be, too: that is nothing
/// that thawing this one would mend.)
pub(crate) fn is_frozen(path: &Path) -> bool {
    std::fs::read_to_string(path.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
}

/// Stops all processes of the cgroup. If one does not stop, all of them run on.
pub(crate) fn freeze(path: &Path) -> Result<()> {
    freeze_within(path, WITHIN)
}

fn freeze_within(path: &Path, within: Duration) -> Result<()> {
    let frozen = set(path, true, within);
    if frozen.is_err() {
        // It can only fail as the first write did, and then nothing was frozen.
        let _ = write(path, "0");
    }
    frozen
}

/// Lets the processes run again.
pub(crate) fn thaw(path: &Path) -> Result<()> {
    set(path, false, WITHIN)
}

fn set(path: &Path, frozen: bool, within: Duration) -> Result<()> {
    let file = || format!("cgroup.events of {}", describe(path));
    let events = Watched::open(path, "cgroup.events").with_context(file)?;
    write(path, if frozen { "1" } else { "0" })?;
    let deadline = Instant::now() + within;
    loop {
        if events.value("frozen").with_context(file)? == Some(frozen.into()) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        events.wait(left).with_context(file)?;
    }
    let (seconds, cgroup) = (within.as_secs(), describe(path));
    if frozen {
        bail!(
            "not all processes of {cgroup} froze within {seconds} s (is one stuck in the \
             kernel?); they run on"
        )
    }
    bail!("{cgroup} is still frozen after {seconds} s; is a cgroup above it frozen?")
}

fn write(path: &Path, value: &str) -> Result<()> {
    let file = path.join("cgroup.freeze");
    std::fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files in place of a cgroup whose processes never freeze.
    #[test]
    fn what_does_not_freeze_is_thawed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let began = Instant::now();
        let error = freeze_within(dir.path(), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("not all processes"), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(50));
        let now = std::fs::read_to_string(dir.path().join("cgroup.freeze")).unwrap();
        assert_eq!(now, "0");
        assert!(!is_frozen(dir.path()));
        std::fs::write(dir.path().join("cgroup.events"), "frozen 1\n").unwrap();
        freeze_within(dir.path(), Duration::ZERO).unwrap();
        assert!(is_frozen(dir.path()));
    }
}
