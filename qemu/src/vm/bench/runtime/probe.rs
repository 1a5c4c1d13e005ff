//! Ways to look at one call of a program: its time, its memory, its system calls.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::calls::Calls;

/// A program and its arguments.
pub(super) type Words = Vec<OsString>;

/// How long it takes from starting it to its end, in milliseconds.
pub(super) fn clock(words: &Words) -> Result<f64> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status();
    let took = started.elapsed();
    let line = || words.join(" ".as_ref()).to_string_lossy().into_owned();
    let status = status.with_context(|| format!("cannot run {}", line()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line());
    }
    Ok(took.as_secs_f64() * 1000.0)
}

/// The most memory that a process of it had at once, in MiB.
///
/// Told by GNU time, because the kernel counts what a process was before execve too, and that
/// program is small.
pub(super) fn memory(words: &Words, place: &Path) -> Result<f64> {
    let text = traced(&["/usr/bin/time", "--format", "%M"], words, place)?;
    let kibibytes: f64 = text
        .trim()
        .parse()
        .with_context(|| format!("GNU time printed {text:?}"))?;
    Ok(kibibytes / 1024.0)
}

/// Its system calls, those of its children among them.
pub(super) fn calls(words: &Words, place: &Path) -> Result<Calls> {
    Calls::parse(&traced(&["strace", "-c", "-f"], words, place)?)
}

/// What `tool` writes into its `-o` file about a call.
fn traced(tool: &[&str], words: &Words, place: &Path) -> Result<String> {
    let file = place.join("traced");
    let mut all: Words = tool.iter().map(OsString::from).collect();
    all.extend(["-o".into(), file.clone().into()]);
    all.extend_from_slice(words);
    clock(&all)?;
    Ok(std::fs::read_to_string(file)?)
}
