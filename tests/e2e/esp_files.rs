//! Files on a guest's boot partition, changed while the guest is off, by
//! Debian's mtools: as whoever has the disk in hand could.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

use crate::state_files;

/// The bytes of `file`, a path with `/`.
pub(crate) fn read(disk: &Path, file: &str) -> Result<Vec<u8>> {
    Ok(mtools(disk, "mtype", &[&format!("::/{file}")])?.stdout)
}

/// Makes `file` of `bytes`, or writes it anew.
pub(crate) fn write(disk: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let source = tempfile::NamedTempFile::new()?;
    std::fs::write(source.path(), bytes)?;
    let source = source.path().display().to_string();
    mtools(disk, "mcopy", &["-o", &source, &format!("::/{file}")])?;
    Ok(())
}

/// Deletes `file`.
pub(crate) fn delete(disk: &Path, file: &str) -> Result<()> {
    mtools(disk, "mdel", &[&format!("::/{file}")])?;
    Ok(())
}

/// The names in `folder`, in order.
pub(crate) fn names(disk: &Path, folder: &str) -> Result<Vec<String>> {
    let output = mtools(disk, "mdir", &["-b", &format!("::/{folder}")])?;
    let text = String::from_utf8(output.stdout)?;
    let name = |line: &str| Some(line.trim().rsplit_once('/')?.1.to_owned());
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    Ok(names)
}

fn mtools(disk: &Path, program: &str, arguments: &[&str]) -> Result<Output> {
    let start = state_files::partition(disk, "esp")?.start;
    let output = Command::new(program)
        .args(["-i", &format!("{}@@{start}", disk.display())])
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}: is the package mtools installed?"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
