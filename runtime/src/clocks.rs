//! The clocks of a new time namespace.
//!
//! ```text
//! child:   unshare a time namespace (for its children, it is not in it yet), say so
//! parent:  write the offsets: the child's own files are root's, for it is not dumpable
//! child:   enter; from here on the offsets cannot change
//! ```

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxTimeOffset;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::namespaces::libc_flags::TIME;

/// The text of /proc/PID/timens_offsets; `None` when the clocks stay as they are.
pub(crate) fn text(offsets: &HashMap<String, LinuxTimeOffset>) -> Result<Option<String>> {
    let mut lines = Vec::with_capacity(offsets.len());
    for (clock, offset) in offsets {
        ensure!(
            matches!(clock.as_str(), "monotonic" | "boottime"),
            "timeOffsets: there is no offset for the clock {clock:?}; give monotonic or boottime"
        );
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        ensure!(
            nanoseconds < 1_000_000_000,
            "timeOffsets: {clock}: {nanoseconds} nanoseconds are a second or more"
        );
        let seconds = offset.secs().unwrap_or(0);
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    lines.sort();
    Ok((!lines.is_empty()).then(|| lines.concat()))
}

/// Writes them for the process `pid`, which has made a time namespace and is not in it.
pub(crate) fn write(pid: i32, offsets: &HashMap<String, LinuxTimeOffset>) -> Result<()> {
    let Some(text) = text(offsets)? else {
        return Ok(());
    };
    match std::fs::write(format!("/proc/{pid}/timens_offsets"), &text) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::RANGE.raw_os_error()) => bail!(
            "linux.timeOffsets: no clock can be set before its beginning, or 146 years after it \
             ({})",
            text.trim_end().replace('\n', ", ")
        ),
        Err(error) => Err(error).context("linux.timeOffsets"),
    }
}

/// Makes a time namespace for whatever this process becomes.
pub(crate) fn make() -> Result<()> {
    orlop_sys::namespace::unshare(TIME).context("new time namespace")
}

/// Enters the namespace that `make` made.
pub(crate) fn enter() -> Result<()> {
    const MADE: &str = "/proc/self/ns/time_for_children";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let made = rustix::fs::open(MADE, flags, Mode::empty()).context(MADE)?;
    orlop_sys::namespace::join(made, TIME).context("enter the new time namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_as_the_kernel_reads_them() {
        for (json, expected) in [
            ("{}", "none"),
            (
                r#"{"monotonic":{"secs":5},"boottime":{"secs":-7,"nanosecs":999999999}}"#,
                "boottime -7 999999999\nmonotonic 5 0\n",
            ),
            (
                r#"{"boottime":{"nanosecs":1000000000}}"#,
                "a second or more",
            ),
            (
                r#"{"realtime":{"secs":1}}"#,
                "no offset for the clock \"realtime\"",
            ),
            (r#"{"monotonic\n":{"secs":1}}"#, "no offset for the clock"),
        ] {
            let got = match text(&serde_json::from_str(json).unwrap()) {
                Ok(text) => text.unwrap_or("none".into()),
                Err(error) => error.to_string(),
            };
            assert!(got.contains(expected), "{json}: {got}");
        }
    }
}
