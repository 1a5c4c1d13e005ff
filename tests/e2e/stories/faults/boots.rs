//! New versions that do not get as far as their manager.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::VersionState;

use super::{Doomed, Form, versions};
use crate::esp_files::{self, ENTRIES};
use crate::state_files;
use crate::stories::updates;

/// What PID 1 says at the end of a boot whose root cannot be mounted.
const NO_ROOT: &str = "orlop: cannot boot: mounting /dev/dm-0 as erofs: \
    expected the root of slot b";

/// What the host says of a version that left no word.
const UNDECIDED: &str = "as when it crashes or hangs";

fn untouched(_: &Path) -> Result<()> {
    Ok(())
}

/// Flips a bit of a disk's partition.
pub(super) fn flip(disk: &Path, partition: &str, offset: u64) -> Result<()> {
    let at = state_files::partition(disk, partition)?.start + offset;
    let disk = std::fs::File::options().read(true).write(true).open(disk)?;
    let mut byte = [0];
    disk.read_exact_at(&mut byte, at)?;
    disk.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}

/// The kernel panics; its last words are told from then on.
pub(crate) fn panicking_kernel() -> Result<()> {
    let doomed = Doomed {
        story: "fault-panicking-kernel",
        new: versions::tormented("crash", Form::of_this_run())?,
        damage: untouched,
        says: "Kernel panic - not syncing: ",
        because: "sysrq: Trigger a crash",
        tells: "its kernel panicked: sysrq triggered crash",
        state: VersionState::Failed,
    };
    doomed.gives_way()
}

/// PID 1 exits, which the kernel panics at.
pub(crate) fn exiting_init() -> Result<()> {
    let doomed = Doomed {
        story: "fault-exiting-init",
        new: versions::exiting_init(Form::of_this_run())?,
        damage: untouched,
        says: "Kernel panic - not syncing: ",
        because: "Attempted to kill init!",
        tells: UNDECIDED,
        state: VersionState::Failed,
    };
    doomed.gives_way()
}

/// Half of the kernel image is gone.
pub(crate) fn truncated_kernel() -> Result<()> {
    let doomed = Doomed {
        story: "fault-truncated-kernel",
        new: updates::good()?,
        damage: |disk| {
            let names = esp_files::names(disk, ENTRIES)?;
            let new = names.iter().find(|name| name.starts_with("orlop_2_"));
            let file = format!("{ENTRIES}/{}", new.context("it is not installed")?);
            let whole = esp_files::read(disk, &file)?;
            esp_files::write(disk, &file, &whole[..whole.len() / 2])
        },
        says: "orlop: cannot boot: systemd-boot came back from orlop_2_2.0.0+",
        because: "it is damaged",
        tells: UNDECIDED,
        state: VersionState::Broken,
    };
    doomed.gives_way()
}

/// A bit of the root is another, where every boot reads it: in the superblock.
pub(crate) fn flipped_root_bit() -> Result<()> {
    let doomed = Doomed {
        story: "fault-flipped-root-bit",
        new: updates::good()?,
        damage: |disk| flip(disk, "root-b", 1024 + 64),
        says: NO_ROOT,
        because: "data block 0 is corrupted",
        tells: UNDECIDED,
        state: VersionState::Failed,
    };
    doomed.gives_way()
}

/// A bit of the hash tree is another, on the way from its top to the superblock.
pub(crate) fn flipped_tree_bit() -> Result<()> {
    let doomed = Doomed {
        story: "fault-flipped-tree-bit",
        new: updates::good()?,
        damage: |disk| {
            // The tree's own superblock, its top, and the first block below that.
            let offset = 2 * 4096;
            let tree = state_files::partition(disk, "verity-b")?;
            ensure!(tree.end - tree.start > offset + 4096, "a tree of {tree:?}");
            flip(disk, "verity-b", offset)
        },
        says: NO_ROOT,
        because: "metadata block 2 is corrupted",
        tells: UNDECIDED,
        state: VersionState::Failed,
    };
    doomed.gives_way()
}
