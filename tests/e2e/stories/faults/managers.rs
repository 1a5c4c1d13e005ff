//! New versions whose manager never answers: PID 1 restarts the machine.
//!
//! That takes a while, in which a machine does nothing; so they are side by side.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use orlop_control::types::VersionState;
use orlop_qemu::build;

use super::boots::flip;
use super::{Doomed, Form, versions};
use crate::state_files;
use crate::stories::updates;

const NO_ANSWER: &str = "orlop: no manager has answered for long: \
    restarting the machine";

/// One exits at once each time it is started, another hangs, and of a third, in the
/// full form, a bit is another.
pub(crate) fn that_never_answer() -> Result<()> {
    let form = Form::of_this_run();
    let mut all = vec![
        Doomed {
            story: "fault-crashing-manager",
            new: versions::tormented("quit", form)?,
            damage: |_| Ok(()),
            says: NO_ANSWER,
            because: "chaos: quits",
            tells: "as when it crashes or hangs",
            state: VersionState::Failed,
        },
        Doomed {
            story: "fault-hanging-manager",
            new: versions::tormented("stall", form)?,
            damage: |_| Ok(()),
            says: NO_ANSWER,
            because: "orlop: the manager does not answer: killing it",
            tells: "as when it crashes or hangs",
            state: VersionState::Failed,
        },
    ];
    if form == Form::Full {
        all.push(Doomed {
            story: "fault-flipped-manager-bit",
            new: updates::good()?,
            damage: flip_in_manager,
            says: NO_ANSWER,
            because: " is corrupted",
            tells: "as when it crashes or hangs",
            state: VersionState::Failed,
        });
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = all
            .iter()
            .map(|doomed| (doomed.story, scope.spawn(|| doomed.gives_way())))
            .collect();
        let ends: Vec<Result<()>> = running
            .into_iter()
            .map(|(story, thread)| {
                let end = thread.join();
                end.map_err(|_| anyhow!("a panic"))?.context(story)
            })
            .collect();
        ends.into_iter().collect()
    })
}

/// Flips a bit of the manager's first page in slot B's root.
fn flip_in_manager(disk: &Path) -> Result<()> {
    const PAGE: usize = 4096;
    let manager = std::fs::read(build::binary("orlop-manager"))?;
    let first = manager.get(..PAGE).context("a short manager")?;
    let root = state_files::partition(disk, "root-b")?;
    let file = std::fs::File::open(disk)?;
    let mut page = [0; PAGE];
    for at in root.clone().step_by(PAGE) {
        file.read_exact_at(&mut page, at)?;
        if page == first {
            return flip(disk, "root-b", at - root.start + 2048);
        }
    }
    Err(anyhow!("the root of slot b has no manager as it was built"))
}
