//! One file a command.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod exec;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod start;

use std::path::Path;

use anyhow::{Context, Result};

/// Writes a pid for whoever waits for the file: beside it first, then renamed.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, pid.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("pid file {}", path.display()))
}

/// One line on stdout, or an error where println! would panic.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("write to stdout")
}
