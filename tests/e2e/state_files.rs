//! Files on a guest's state partition, written while the guest is off, by
//! Debian's `debugfs`: as whoever has the disk in hand could.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What to put on the state partition.
pub(crate) enum Put<'a> {
    /// A file with these bytes.
    File(&'a [u8]),
    /// A symbolic link.
    Link(&'a str),
    /// A named pipe.
    Pipe,
    /// An empty directory.
    Directory,
}

/// Puts `things` into `directory` of the state partition on `disk`.
pub(crate) fn put(disk: &Path, directory: &str, things: &[(String, &Put<'_>)]) -> Result<()> {
    let place = tempfile::tempdir()?;
    let mut script = format!("cd {directory}\n");
    for (name, thing) in things {
        match thing {
            Put::File(bytes) => {
                let source = place.path().join(name);
                std::fs::write(&source, bytes)?;
                writeln!(script, "write {} {name}", source.display())?;
            }
            Put::Link(target) => writeln!(script, "symlink {name} {target}")?,
            Put::Pipe => writeln!(script, "mknod {name} p")?,
            Put::Directory => writeln!(script, "mkdir {name}")?,
        }
    }
    debugfs(disk, &script)
}

/// Carries out debugfs(8)'s commands, one a line, on the state partition.
pub(crate) fn debugfs(disk: &Path, commands: &str) -> Result<()> {
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(commands.as_bytes())?;
    let Range { start, .. } = partition(disk, "state")?;
    let output = Command::new("/sbin/debugfs")
        .args(["-w", "-f"])
        .arg(script.path())
        .arg(format!("{}?offset={start}", disk.display()))
        .output()
        .context("cannot run debugfs: is the package e2fsprogs installed?")?;
    // It ends well whatever its commands do; each failure is a line.
    let said = String::from_utf8_lossy(&output.stderr);
    let failures: Vec<&str> = said.lines().skip(1).collect();
    ensure!(
        output.status.success() && failures.is_empty(),
        "debugfs: {said}"
    );
    Ok(())
}

/// Makes a new file system on the state partition, as mkfs.ext4(8) does with
/// `options`, which have an `-E`.
pub(crate) fn mkfs(disk: &Path, options: &str) -> Result<()> {
    let Range { start, end } = partition(disk, "state")?;
    let output = Command::new("/sbin/mkfs.ext4")
        .args(["-q", "-F"])
        .args(
            options
                .replacen("-E ", &format!("-E offset={start},"), 1)
                .split(' '),
        )
        .arg(disk)
        .arg(format!("{}k", (end - start) / 1024))
        .output()
        .context("cannot run mkfs.ext4: is the package e2fsprogs installed?")?;
    ensure!(output.status.success(), "mkfs.ext4: {output:?}");
    Ok(())
}

/// The features of the state partition's file system.
pub(crate) fn features(disk: &Path) -> Result<BTreeSet<String>> {
    let Range { start, .. } = partition(disk, "state")?;
    let output = Command::new("/sbin/dumpe2fs")
        .arg("-h")
        .arg(format!("{}?offset={start}", disk.display()))
        .output()
        .context("cannot run dumpe2fs: is the package e2fsprogs installed?")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Filesystem features:"));
    let words = line.with_context(|| format!("dumpe2fs told no features: {text}"))?;
    Ok(words.split_whitespace().map(str::to_owned).collect())
}

/// The bytes of `disk` that its partition `name` takes.
pub(crate) fn partition(disk: &Path, name: &str) -> Result<Range<u64>> {
    let output = Command::new("/sbin/sfdisk")
        .arg("--json")
        .arg(disk)
        .output()
        .context("cannot run sfdisk: is the package fdisk installed?")?;
    let table: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let found = table["partitiontable"]["partitions"]
        .as_array()
        .and_then(|all| all.iter().find(|partition| partition["name"] == name))
        .with_context(|| format!("{} has no partition {name}", disk.display()))?;
    let bytes = |key: &str| {
        let sectors = found[key].as_u64();
        Ok::<_, anyhow::Error>(sectors.with_context(|| format!("{name}: no {key}"))? * 512)
    };
    let start = bytes("start")?;
    Ok(start..start + bytes("size")?)
}
