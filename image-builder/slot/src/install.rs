//! An install into the slot that does not run: what it is called, what gives way to it, and in which
//! order all of it is written.
//!
//! FAT may be left with two names for the same clusters by a rename that power interrupted. To
//! remove one of them would free what the other leads to. So before anything is removed such twins
//! are mended, without touching what they lead to ([`keep`] says which name stays), and files that
//! lead to the root that runs are never removed.
//!
//! What is written when the trial that follows is decided, and in which order, is told where
//! [`crate::Step`] is (`order.rs`).

use thiserror::Error;

use crate::entry::{BootEntry, Tries};
use crate::trial::{Installed, Outcome, Record, Rename, Running};

/// What the new kernel image is called while it is written: no boot loader starts it.
pub const TEMPORARY: &str = "orlop.new";

/// How often a new install is tried before the boot loader gives it up.
pub const TRIES: u32 = 3;

/// What an install does, in this order. Each step is flushed before the next is begun; power may go
/// between any two and within each, and what boots next is the version that runs, until the last
/// step is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// Names that share their clusters are made one, and clusters that nothing leads to are freed.
    /// First, as the next step would do harm otherwise.
    Mend,
    /// What leads to the other slot is removed. Before that slot is overwritten: an entry must never
    /// lead to a root that is half old and half new.
    Remove,
    /// The root is written, and behind it the kernel image, chunk by chunk.
    Fill,
    /// The hash tree is computed from the root, as the disk has it, and written; it and the root are
    /// read back and checked against the root hash, the kernel image against its digest: before the
    /// record, as from there on a boot loader may start it.
    Verify,
    /// The record says that the install is to be tried. Before it can boot: a torn rename could show
    /// it under an 8.3 name, which has no counter, and what is on trial would pass for good.
    Record,
    /// The kernel image is copied to the boot partition under [`TEMPORARY`], and read back. Not
    /// earlier, as it takes the boot partition's room, and FAT is changed as little as can be.
    Copy,
    /// It gets its name. Last: this makes it bootable.
    Rename,
}

/// The steps in their order.
pub const STEPS: [InstallStep; 7] = [
    InstallStep::Mend,
    InstallStep::Remove,
    InstallStep::Fill,
    InstallStep::Verify,
    InstallStep::Record,
    InstallStep::Copy,
    InstallStep::Rename,
];

/// An install that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The files in `EFI/Linux` that give way.
    pub remove: Vec<String>,
    /// What is put on record.
    pub record: Record,
    /// The last step.
    pub rename: Rename,
}

/// Why nothing may be installed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InstallRefusal {
    /// Whatever fails, the machine would have nothing to start.
    #[error(
        "no entry on the boot partition leads to version {0}, which runs, so there would be no way \
         back to it; expected its file in EFI/Linux"
    )]
    NoWayBack(String),
    /// The other version is good, and the one that runs is not known to be.
    #[error(
        "version {0}, which runs, was not found good, and {1} was: that one is not given up for a new \
         one; reboot, or go back to it with `orlop rollback`"
    )]
    OtherIsGood(String, String),
    /// It runs.
    #[error("the root of version {0} is the one that runs; build it with another version")]
    Runs(String),
    /// Serial numbers have run out.
    #[error("no install can follow number 4294967295; write the disk anew")]
    Serials,
}

/// What installing `version` with the root hash `root` beside what is `running` takes. `files` are
/// those of `EFI/Linux`, [`TEMPORARY`] among them if it is there.
///
/// # Errors
/// [`InstallRefusal`]; nothing is to be written then.
pub fn install(
    version: &str,
    root: &str,
    running: &Running,
    files: &[Installed],
    record: Option<&Record>,
) -> Result<Install, InstallRefusal> {
    let runs = |file: &Installed| file.root.as_deref() == Some(running.root.as_str());
    let is_temporary = |file: &Installed| file.name.eq_ignore_ascii_case(TEMPORARY);
    if !files.iter().any(|file| runs(file) && !is_temporary(file)) {
        return Err(InstallRefusal::NoWayBack(running.version.clone()));
    }
    if root == running.root {
        return Err(InstallRefusal::Runs(version.to_owned()));
    }
    let gives_way = |file: &&Installed| is_temporary(file) || (is_ours(file) && !runs(file));
    let is_way_back = |file: &Installed| runs(file) && file.is_good();
    let goes = files.iter().filter(gives_way).find(|file| file.is_good());
    if let Some(good) = goes.and_then(Installed::entry)
        && !files.iter().any(is_way_back)
    {
        let version = running.version.clone();
        return Err(InstallRefusal::OtherIsGood(version, good.version));
    }
    let serials = files.iter().filter_map(Installed::entry);
    let last = serials
        .map(|entry| entry.serial)
        .chain(record.map(|record| record.serial))
        .chain(running.serial(record))
        .max();
    let serial = last.unwrap_or(0).checked_add(1);
    let serial = serial.ok_or(InstallRefusal::Serials)?;
    let entry = BootEntry {
        serial,
        version: version.to_owned(),
        tries: Some(Tries {
            left: TRIES,
            done: 0,
        }),
    };
    Ok(Install {
        remove: files
            .iter()
            .filter(gives_way)
            .map(|file| file.name.clone())
            .collect(),
        record: Record {
            serial,
            version: version.to_owned(),
            root: root.to_owned(),
            outcome: Outcome::Trying,
        },
        rename: Rename {
            from: TEMPORARY.to_owned(),
            to: entry.to_string(),
        },
    })
}

/// Whether a file is an install's: by its name, by where it leads, or by the 8.3 name that is left
/// of ours when power tears the long one. What others have put there stays.
fn is_ours(file: &Installed) -> bool {
    let name = file.name.to_ascii_lowercase();
    file.entry().is_some() || file.root.is_some() || name.starts_with("orlop")
}

/// Which of several names for the same clusters stays: one without a counter, as only what was found
/// good gets one; else the one that was tried more; else an 8.3 name; [`TEMPORARY`] last. `names` is
/// not empty; 0 when it is.
pub fn keep(names: &[&str]) -> usize {
    let rank = |name: &str| match name.parse::<BootEntry>() {
        Ok(BootEntry { tries: None, .. }) => (0, 0, 0),
        Ok(BootEntry {
            tries: Some(tries), ..
        }) => (1, tries.left, u32::MAX - tries.done),
        Err(_) if name.eq_ignore_ascii_case(TEMPORARY) => (3, 0, 0),
        Err(_) => (2, 0, 0),
    };
    let best = names.iter().enumerate().min_by_key(|(_, name)| rank(name));
    best.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::fallback;
    use proptest::prelude::*;

    const OLD: &str = "aa";
    const NEW: &str = "bb";

    fn file(name: &str, root: Option<&str>) -> Installed {
        Installed {
            name: name.to_owned(),
            root: root.map(str::to_owned),
        }
    }

    fn running(entry: Option<&str>) -> Running {
        Running {
            entry: entry.map(str::to_owned),
            version: "1.0".to_owned(),
            root: OLD.to_owned(),
        }
    }

    fn record(serial: u32) -> Record {
        Record {
            serial,
            version: "1.5".to_owned(),
            root: "cc".to_owned(),
            outcome: Outcome::Failed,
        }
    }

    #[test]
    fn what_does_not_run_gives_way_and_the_serial_grows() {
        let good = file("orlop_1_1.0.efi", Some(OLD));
        type Case = (
            Vec<Installed>,
            Option<Record>,
            &'static [&'static str],
            &'static str,
        );
        let cases: [Case; 6] = [
            (vec![], None, &[], "orlop_2_2.0+3.efi"),
            (vec![], Some(record(6)), &[], "orlop_7_2.0+3.efi"),
            (
                vec![file("orlop_9_1.5+0-3.efi", Some("cc"))],
                None,
                &["orlop_9_1.5+0-3.efi"],
                "orlop_10_2.0+3.efi",
            ),
            // Cut off, and what a torn name left; also of an install that is there already.
            (
                vec![
                    file("orlop_2_2.0+3.efi", None),
                    file("ORLOP_~2.EFI", None),
                    file("orlop.new", Some(NEW)),
                ],
                None,
                &["orlop_2_2.0+3.efi", "ORLOP_~2.EFI", "orlop.new"],
                "orlop_3_2.0+3.efi",
            ),
            // Under a torn name, by where it leads; other people's files stay.
            (
                vec![
                    file("FSCK0000.EFI", Some("cc")),
                    file("memtest.efi", None),
                    file("orlop_1_1.0+2-1.efi", Some(OLD)),
                ],
                None,
                &["FSCK0000.EFI"],
                "orlop_2_2.0+3.efi",
            ),
            // A temporary that leads to what runs is no entry, and is removed; that it shares no
            // clusters by now is the first step's.
            (
                vec![file("ORLOP.NEW", Some(OLD))],
                None,
                &["ORLOP.NEW"],
                "orlop_2_2.0+3.efi",
            ),
        ];
        for (mut files, record, remove, name) in cases {
            files.push(good.clone());
            let install = install("2.0", NEW, &running(None), &files, record.as_ref()).unwrap();
            assert_eq!(install.remove, remove);
            assert_eq!(install.rename.to, name);
            assert_eq!(install.rename.from, TEMPORARY);
            assert_eq!(
                (install.record.outcome, install.record.root.as_str()),
                (Outcome::Trying, NEW)
            );
            let entry: BootEntry = name.parse().unwrap();
            assert_eq!(install.record.serial, entry.serial);
        }
    }

    #[test]
    fn without_a_way_back_nothing_is_installed() {
        let cases = [
            vec![],
            vec![file("orlop_1_1.0.efi", None)],
            vec![file("orlop.new", Some(OLD))],
            vec![file("orlop_2_2.0+3.efi", Some(NEW))],
        ];
        for files in cases {
            let refusal = install("2.0", NEW, &running(None), &files, None).unwrap_err();
            assert_eq!(refusal, InstallRefusal::NoWayBack("1.0".to_owned()));
        }
        let files = [file("orlop_4294967295_1.0.efi", Some(OLD))];
        let refusal = install("2.0", NEW, &running(None), &files, None).unwrap_err();
        assert_eq!(refusal, InstallRefusal::Serials);
    }

    #[test]
    fn a_good_version_is_not_given_up_for_one_that_may_not_be() {
        let refused = |files: &[Installed]| {
            install("2.0", NEW, &running(None), files, None).map_err(|refusal| refusal.to_string())
        };
        let other = file("orlop_1_0.9.efi", Some("cc"));
        // What runs was given up, or its blessing did not reach the boot partition.
        for name in ["orlop_2_1.0+0-1.efi", "orlop_2_1.0+2-1.efi", "ORLOP_~1.EFI"] {
            let own = file(name, Some(OLD));
            let refusal = refused(&[own.clone(), other.clone()]).unwrap_err();
            assert!(refusal.contains("0.9 was"), "{name}: {refusal}");
            // With no other good one there is nothing to lose.
            let bad = file("orlop_1_0.9+0.efi", Some("cc"));
            assert_eq!(refused(&[own, bad]).unwrap().remove, ["orlop_1_0.9+0.efi"]);
        }
        let own = file("orlop_2_1.0.efi", Some(OLD));
        assert_eq!(
            refused(&[own.clone(), other]).unwrap().remove,
            ["orlop_1_0.9.efi"]
        );
        let same = install("1.0", OLD, &running(None), &[own], None).unwrap_err();
        assert_eq!(same, InstallRefusal::Runs("1.0".to_owned()));
    }

    proptest! {
        /// Whatever is there: once it is installed and fails, there is a good one to go back to, if
        /// there was one before.
        #[test]
        fn the_way_back_stays(
            names in prop::collection::vec((1_u32..4, prop::option::of((0_u32..3, 0_u32..3)), 0_u8..4), 0..5),
        ) {
            let files: Vec<Installed> = names
                .into_iter()
                .map(|(serial, tries, root)| {
                    let tries = tries.map(|(left, done)| Tries { left, done });
                    let entry = BootEntry { serial, version: "1".to_owned(), tries };
                    let root = [Some(OLD), Some("cc"), Some("dd"), None][usize::from(root)];
                    file(&entry.to_string(), root)
                })
                .collect();
            let mut files = files;
            files.sort_by(|a, b| a.name.cmp(&b.name));
            files.dedup_by(|a, b| a.name == b.name);
            let had = files.iter().any(Installed::is_good);
            if let Ok(install) = install("2", NEW, &running(None), &files, None) {
                let mut after = files;
                after.retain(|file| !install.remove.contains(&file.name));
                after.push(file(&install.rename.to, Some(NEW)));
                let back = fallback(install.record.serial, &after);
                prop_assert_eq!(back.is_some(), had);
                prop_assert!(after.iter().any(|file| file.root.as_deref() == Some(OLD)));
            }
        }
    }

    /// Whatever else changes in [`STEPS`], these pairs hold I4.
    #[test]
    fn steps_wait_for_what_they_need() {
        use InstallStep::{Copy, Fill, Mend, Record, Remove, Rename, Verify};
        for (first, then, otherwise) in [
            (
                Mend,
                Remove,
                "a file that shares its clusters takes them from what runs",
            ),
            (
                Remove,
                Fill,
                "an entry leads to a root that is half old and half new",
            ),
            (Fill, Verify, "what is checked is not what was written last"),
            (
                Remove,
                Copy,
                "a third kernel image does not fit on the boot partition",
            ),
            (
                Verify,
                Copy,
                "a kernel image that is not whole gets to the boot partition",
            ),
            (Verify, Rename, "a root that is not whole boots"),
            (
                Record,
                Rename,
                "a torn name without a counter passes for good",
            ),
            (Verify, Record, "what cannot boot is on record as on trial"),
            (Copy, Rename, "a kernel image that is not whole boots"),
        ] {
            let at = |step| STEPS.iter().position(|own| *own == step).unwrap();
            assert!(
                at(first) < at(then),
                "{first:?} after {then:?}: {otherwise}"
            );
        }
        // Each once, and nothing after what makes it bootable.
        let all: std::collections::HashSet<_> = STEPS.iter().map(|s| format!("{s:?}")).collect();
        assert_eq!((all.len(), STEPS.last()), (STEPS.len(), Some(&Rename)));
    }

    #[test]
    fn what_runs_keeps_its_name() {
        let cases: [(&[&str], usize); 6] = [
            (&["orlop_2_2.0+2-1.efi", "orlop_2_2.0.efi"], 1),
            (&["orlop_2_2.0+3.efi", "orlop_2_2.0+2-1.efi"], 1),
            (&["orlop_2_2.0+2-1.efi", "orlop_2_2.0+0-1.efi"], 1),
            (&["orlop.new", "orlop_2_2.0+3.efi"], 1),
            (&["ORLOP.NEW", "ORLOP_~1.EFI"], 1),
            (&["ORLOP_~1.EFI", "orlop_2_2.0+3.efi"], 1),
        ];
        for (names, kept) in cases {
            assert_eq!(keep(names), kept, "{names:?}");
        }
        assert_eq!(keep(&[]), 0);
    }
}
