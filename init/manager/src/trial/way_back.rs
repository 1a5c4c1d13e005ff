//! The version to go back to, which has to be whole: one that is damaged does not come up, and its
//! entry has no counter, so the boot loader would start it without end.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use orlop_handover::SlotDevices;
use orlop_slot::BootEntry;
use orlop_slot::trial::{Installed, fallback};
use orlop_verity::Superblock;

use super::Case;
use crate::installs::uki;

impl Case {
    /// `installed`, in which none but `serial` is good if the one that the boot loader would start
    /// then is damaged, and a sentence that says so.
    pub(super) async fn without_damaged(
        &self,
        serial: u32,
        mut installed: Vec<Installed>,
    ) -> (Vec<Installed>, Option<String>) {
        let Some(back) = fallback(serial, &installed) else {
            return (installed, None);
        };
        let Err(damage) = self.check_whole(&back, &installed).await else {
            return (installed, None);
        };
        // All of them: an older one that is whole would not be started.
        for file in &mut installed {
            if file.entry().is_none_or(|entry| entry.serial != serial) {
                file.root = None;
            }
        }
        let told = format!("{damage}, so the host does not go back to it; install it anew");
        (installed, Some(told))
    }

    /// Checks the slot that `back`, one of `installed`, leads to.
    ///
    /// # Errors
    /// In what it is not whole, for a person.
    pub(super) async fn check_whole(
        &self,
        back: &BootEntry,
        installed: &[Installed],
    ) -> Result<(), String> {
        let name = back.to_string();
        let version = &back.version;
        let file = installed
            .iter()
            .find(|file| file.name.eq_ignore_ascii_case(&name));
        let root = file.and_then(|file| file.root.as_deref());
        if root == Some(self.running.root.as_str()) {
            // The kernel checks what runs.
            return Ok(());
        }
        let root = root.and_then(uki::bytes);
        let root = root.ok_or_else(|| format!("the file of version {version} leads to no root"))?;
        let slot = self.boot.other.clone();
        let slot = slot.ok_or_else(|| {
            format!("version {version} has no slot: expected partitions root-b, verity-b")
        })?;
        let checked = tokio::task::spawn_blocking(move || check(&slot, &root)).await;
        checked
            .map_err(|_| format!("checking version {version} broke off"))?
            .map_err(|error| format!("version {version} is damaged: {error}"))
    }
}

/// Whether a slot holds what `root` is the hash of; reads all of it.
fn check(slot: &SlotDevices, root: &[u8; 32]) -> io::Result<()> {
    let (data, tree) = (File::open(&slot.root)?, File::open(&slot.verity)?);
    let superblock = Superblock::read(&tree).map_err(io::Error::other)?;
    let mut go_on = |_: u64| ControlFlow::Continue(());
    orlop_verity::check(&data, &tree, &superblock, root, &mut go_on).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
