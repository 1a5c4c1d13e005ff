//! Files that a state partition has from the beginning: root's, for root alone.
//!
//! `mke2fs -d` copies a tree with the owners and times that it has where it is
//! built, and forgets the quota's own count; so those are put right afterwards.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A file on the state partition.
pub(crate) struct Given {
    /// Its place, from the partition's root. Plain names only.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) bytes: Vec<u8>,
}

/// The tree that `mke2fs -d` copies, in `scratch`.
pub(super) fn stage(files: &[Given], scratch: &Path) -> Result<TempDir> {
    let tree = tempfile::tempdir_in(scratch)?;
    for directory in directories(files) {
        let place = tree.path().join(&directory);
        fs::create_dir(&place)
            .and_then(|()| fs::set_permissions(&place, Permissions::from_mode(0o755)))
            .with_context(|| place.display().to_string())?;
    }
    for file in files {
        let place = tree.path().join(&file.path);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&place)
            .and_then(|mut new| new.write_all(&file.bytes))
            .with_context(|| place.display().to_string())?;
    }
    Ok(tree)
}

/// All directories above the files, each after the one that it is in.
fn directories(files: &[Given]) -> BTreeSet<PathBuf> {
    let above = |file: &Given| -> Vec<PathBuf> {
        let ancestors = file.path.ancestors().skip(1);
        ancestors
            .filter(|path| !path.as_os_str().is_empty())
            .map(Path::to_path_buf)
            .collect()
    };
    files.iter().flat_map(above).collect()
}

/// Gives the copies in the file system `image` to root, at `time`.
pub(super) fn settle(files: &[Given], image: &Path, time: u64) -> Result<()> {
    let mut orders = String::new();
    let mut paths = directories(files);
    paths.extend(files.iter().map(|file| file.path.clone()));
    for path in paths {
        let path = path.display();
        for owner in ["uid", "gid"] {
            writeln!(orders, "set_inode_field /{path} {owner} 0")?;
        }
        for when in ["atime", "ctime", "mtime", "crtime"] {
            writeln!(orders, "set_inode_field /{path} {when} @{time}")?;
            writeln!(orders, "set_inode_field /{path} {when}_extra 0")?;
        }
    }
    let mut debugfs = super::command("debugfs", time)
        .args(["-w", "-f", "-"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running debugfs (Debian package e2fsprogs)")?;
    // Its end is what ends the orders.
    debugfs
        .stdin
        .take()
        .context("debugfs has no input")?
        .write_all(orders.as_bytes())?;
    let output = debugfs.wait_with_output()?;
    // It tells of failed orders in words alone, after its name and version.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> = said
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .collect();
    if !output.status.success() || !complaints.is_empty() {
        bail!("debugfs: {}", complaints.join("; "));
    }
    // 1: what it found is mended, the quota's count above all.
    let check = super::command("e2fsck", time)
        .args(["-f", "-p"])
        .arg(image)
        .output()
        .context("running e2fsck (Debian package e2fsprogs)")?;
    if !matches!(check.status.code(), Some(0 | 1)) {
        bail!("e2fsck: {}", String::from_utf8_lossy(&check.stdout).trim());
    }
    Ok(())
}
