//! Files on a guest's boot partition, changed while the guest is off, by
//! Debian's mtools: as whoever has the disk in hand could.

use std::os::unix::fs::FileExt as _;
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

/// Bytes that files may still take.
pub(crate) fn free(disk: &Path) -> Result<u64> {
    let text = String::from_utf8(mtools(disk, "mdir", &["::/"])?.stdout)?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_suffix("bytes free"));
    let digits: String = line
        .with_context(|| format!("mdir tells of no free bytes: {text}"))?
        .split_whitespace()
        .collect();
    digits.parse().with_context(|| digits.clone())
}

/// Makes `file` of so many zeros.
pub(crate) fn fill(disk: &Path, file: &str, bytes: u64) -> Result<()> {
    let source = tempfile::NamedTempFile::new()?;
    source.as_file().set_len(bytes)?;
    let source = source.path().display().to_string();
    mtools(disk, "mcopy", &[&source, &format!("::/{file}")])?;
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

/// The entries that the boot loader may start.
pub(crate) const ENTRIES: &str = "EFI/Linux";

/// Renames an entry.
pub(crate) fn rename(disk: &Path, from: &str, to: &str) -> Result<()> {
    mtools(disk, "mren", &[&format!("::/{ENTRIES}/{from}"), to]).map(drop)
}

/// Installs what `image` has in slot A into slot B of `disk`, with `entry` as the
/// name of its entry: as an installer would.
pub(crate) fn install(image: &Path, disk: &Path, entry: &str) -> Result<()> {
    for kind in ["root", "verity"] {
        copy_partition(image, &format!("{kind}-a"), disk, &format!("{kind}-b"))?;
    }
    let names = names(image, ENTRIES)?;
    let [only] = names.as_slice() else {
        anyhow::bail!("{} has the entries {names:?}", image.display());
    };
    let kernel = read(image, &format!("{ENTRIES}/{only}"))?;
    write(disk, &format!("{ENTRIES}/{entry}"), &kernel)
}

fn copy_partition(image: &Path, from: &str, disk: &Path, to: &str) -> Result<()> {
    let source = state_files::partition(image, from)?;
    let target = state_files::partition(disk, to)?;
    let fits = source.end - source.start <= target.end - target.start;
    ensure!(fits, "{from} of {} is too large", image.display());
    let image = std::fs::File::open(image)?;
    let disk = std::fs::File::options().write(true).open(disk)?;
    let mut piece = vec![0; 1 << 20];
    for at in source.clone().step_by(piece.len()) {
        image.read_exact_at(&mut piece, at)?;
        // The disk has zeros where nothing was written.
        if piece.iter().any(|byte| *byte != 0) {
            disk.write_all_at(&piece, target.start + (at - source.start))?;
        }
    }
    Ok(())
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
