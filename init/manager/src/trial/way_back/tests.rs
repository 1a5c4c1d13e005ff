//! Trials that fail, on hosts whose other slot is whole or not.

use std::path::Path;

use orlop_handover::{SlotDevices, StateHealth};
use orlop_slot::trial::{Outcome, Record};

use super::super::Seen;
use super::super::unread::tests::{Host, host};
use crate::installs::{Esp, uki};

const OLD: &str = "orlop_1_1.0.0.efi";
const TRIED: &str = "orlop_2_2.0.0+2-1.efi";
const BLOCKS: usize = 16;

/// Makes a slot of files, and gives its root hash.
fn slot(dir: &Path) -> (SlotDevices, String) {
    let at = |name: &str| dir.join(name);
    std::fs::write(at("root"), vec![7; BLOCKS * orlop_verity::BLOCK as usize]).unwrap();
    let open = |name: &str| {
        let mut options = std::fs::File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(at(name)).unwrap()
    };
    let superblock = orlop_verity::Superblock {
        uuid: [7; 16],
        data_blocks: BLOCKS as u64,
        salt: vec![7; 32],
    };
    let mut go_on = |_: u64| std::ops::ControlFlow::Continue(());
    let root = orlop_verity::write(&open("root"), &open("verity"), &superblock, &mut go_on);
    let hex = root.unwrap().into_iter().map(|byte| format!("{byte:02x}"));
    let path = |name: &str| at(name).to_string_lossy().into_owned();
    let devices = SlotDevices {
        root: path("root"),
        verity: path("verity"),
    };
    (devices, hex.collect())
}

/// A host whose trial has failed, or does now, with another version in the other slot.
fn failing(outcome: Outcome) -> Host {
    let mut host = host("orlop_2_2.0.0+3.efi", TRIED, outcome, 0);
    let own = "bb".repeat(32);
    let esp = host.dir.path().join("esp");
    let entries = esp.join("EFI/Linux");
    std::fs::create_dir_all(&entries).unwrap();
    let (devices, old) = slot(host.dir.path());
    for (name, root) in [(OLD, &old), (TRIED, &own)] {
        let image = uki::tests::uki(&format!("orlop.root={root}"));
        std::fs::write(entries.join(name), image).unwrap();
    }
    let record = Record {
        serial: 2,
        version: "2.0.0".to_owned(),
        root: own.clone(),
        outcome,
    };
    host.case.records.put_trial(&record).unwrap();
    host.case.esp = Esp::mounted(&esp);
    host.case.running.root = own;
    host.case.boot.other = Some(devices);
    // Which no units make up for.
    host.case.boot.state = StateHealth::Tmpfs;
    host
}

fn entries(host: &Host) -> Vec<String> {
    let listing = host.case.esp.list().unwrap();
    listing.files.into_iter().map(|file| file.name).collect()
}

#[tokio::test(start_paused = true)]
async fn it_goes_back_to_what_is_whole() {
    for outcome in [Outcome::Trying, Outcome::Failed] {
        let mut host = failing(outcome);
        assert!(matches!(host.ends().await, Some(Seen::Leaving)));
        let record = host.case.records.trial().unwrap().unwrap();
        assert_eq!(record.outcome, Outcome::Failed);
        assert_eq!(entries(&host), [OLD, "orlop_2_2.0.0+0-1.efi"]);
    }
}

#[tokio::test(start_paused = true)]
async fn it_runs_on_where_the_other_version_is_damaged_and_says_so() {
    for outcome in [Outcome::Trying, Outcome::Failed] {
        for part in ["root", "verity"] {
            let mut host = failing(outcome);
            let path = host.dir.path().join(part);
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let (seen, problems) = host.stays().await;
            assert!(matches!(seen, Seen::Decided(None)), "{part}");
            assert_eq!(entries(&host), [OLD, TRIED], "{part}");
            let record = host.case.records.trial().unwrap().unwrap();
            assert_eq!(record.outcome, outcome);
            let damaged = |told: &String| told.contains("version 1.0.0 is damaged: ");
            assert!(problems.iter().any(damaged), "{problems:?}");
            // The next manager of this boot finds the same.
            if outcome == Outcome::Trying {
                let failed = host.case.records.failed().unwrap().unwrap();
                assert!(damaged(&failed.reason), "{}", failed.reason);
                let (seen, _) = host.stays().await;
                assert!(matches!(seen, Seen::Decided(None)));
                assert_eq!(entries(&host), [OLD, TRIED]);
            }
        }
    }
}
