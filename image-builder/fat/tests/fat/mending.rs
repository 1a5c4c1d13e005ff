//! Plans that are cut short anywhere, on volumes with several kinds of damage at once.

use orlop_fat::{Entry, Mend, mend};
use proptest::prelude::*;

use crate::disk::{Disk, Write};
use crate::maker::{CLUSTER, KINDS, Kind, Maker, ROOT, entry_slots, short_slot};
use crate::vfat;

const NEW: &str = "orlop.new";

/// The one whose 8.3 name is the first: of a group's part, too, if that has it.
fn first(entries: &[&Entry]) -> usize {
    let named = entries.iter().enumerate();
    let least = named.min_by_key(|(_, entry)| entry.short_name.clone());
    least.map_or(0, |(index, _)| index)
}

/// What was being written, under both its names.
fn temporary(entry: &Entry) -> bool {
    entry.short_name.starts_with("ORLOP~") && entry.short_name.ends_with(".NEW")
}

fn plan(disk: &Disk) -> Mend {
    mend(&disk.volume(), "EFI/Linux", first, temporary).unwrap()
}

/// What power lets through: the steps up to some point, then some of what comes in any order.
fn cut(disk: &mut Disk, steps: &[Write], loose: &[Write], chance: &[bool]) {
    let through = chance.iter().take_while(|through| **through).count();
    for (offset, bytes) in steps.iter().take(through) {
        disk.write(*offset, bytes);
    }
    if through >= steps.len() {
        for ((offset, bytes), through) in loose.iter().zip(chance.iter().rev().cycle()) {
            if *through {
                disk.write(*offset, bytes);
            }
        }
    }
}

/// What is going on when power goes.
#[derive(Clone, Debug)]
enum Work {
    Rename,
    Write,
    Unlink,
    /// A name is copied, slot by slot: a twin that lies anywhere.
    Twin,
    /// A twin that only Linux sees, as there are free slots before it.
    Hidden(usize),
    /// A chain without an entry.
    Lose(usize),
    /// The temporary file leads to another's second cluster.
    Cross,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        Just(Work::Rename),
        Just(Work::Write),
        Just(Work::Unlink),
        Just(Work::Twin),
        (1usize..20).prop_map(Work::Hidden),
        (1usize..300).prop_map(Work::Lose),
        Just(Work::Cross),
    ]
}

fn volume(kind: Kind, padding: usize) -> (Maker, u32) {
    let mut maker = Maker::new(kind);
    let efi = maker.add_directory(ROOT, "EFI");
    let linux = maker.add_directory(efi, "Linux");
    let boot = maker.add_directory(efi, "BOOT");
    maker.add(boot, "BOOTX64.EFI", &vec![9; 2 * CLUSTER]);
    for number in 0..padding {
        maker.add(linux, &format!("{number}.txt"), b"");
    }
    for number in 1..4u8 {
        let name = format!("orlop_{number}_1.0.0-{}+3.efi", "x".repeat(40));
        maker.add(
            linux,
            &name,
            &vec![number; usize::from(number) * CLUSTER + 5],
        );
    }
    (maker, linux)
}

/// What is left of `EFI/Linux`, without what is being written.
fn entries(maker: &Maker) -> Vec<Entry> {
    let mut entries = maker.disk.volume().directory("EFI/Linux").unwrap();
    entries.retain(|entry| !temporary(entry));
    entries
}

/// What some work on `EFI/Linux` writes: first in order, then in any.
fn written(maker: &Maker, linux: u32, work: &Work, number: usize) -> (Vec<Write>, Vec<Write>) {
    let mut after = maker.clone();
    let last = entries(maker).pop().unwrap();
    let mut steps = Vec::new();
    match work {
        Work::Rename => {
            let new = format!("orlop_9_{number}{}.efi", "y".repeat(50));
            steps = vfat::rename(&mut after, linux, &last.name, &new);
        }
        Work::Write => return vfat::write(&mut after, linux, NEW, &vec![8; 150 * CLUSTER]),
        Work::Unlink => return vfat::unlink(&mut after, &last.name),
        Work::Twin => {
            let slots = last.slots.iter().map(|slot| maker.disk.bytes(*slot, 32));
            let slots = slots.map(|bytes| <[u8; 32]>::try_from(bytes).unwrap());
            vfat::put(&mut after, &mut steps, linux, &slots.collect::<Vec<_>>());
        }
        Work::Hidden(hole) => {
            let slot = maker.disk.bytes(*last.slots.last().unwrap(), 32);
            let place = vfat::room(&mut after, &mut steps, linux, hole + 1)[*hole];
            let before = after.disk.clone();
            after.disk.write(place, &slot);
            steps.extend(before.changes(&after.disk));
        }
        Work::Lose(count) => {
            after.allocate(*count);
            return (steps, maker.disk.changes(&after.disk));
        }
        Work::Cross => {
            let other = maker.disk.volume().entry("EFI/BOOT/BOOTX64.EFI").unwrap();
            let second = maker.chain(other.first_cluster)[1];
            let slots = entry_slots(NEW, &maker.short_for(linux, NEW), 0x20, second, 5);
            vfat::put(&mut after, &mut steps, linux, &slots);
        }
    }
    (steps, Vec::new())
}

/// A volume after some work that power interrupted.
fn damaged(kind: Kind, padding: usize, works: &[(Work, Vec<bool>)]) -> Disk {
    let (mut maker, linux) = volume(kind, padding);
    for (number, (work, chance)) in works.iter().enumerate() {
        // Whoever removes a file has the volume mended first.
        if matches!(work, Work::Unlink) {
            let plan = plan(&maker.disk);
            maker.disk.apply(&plan);
        }
        let (steps, loose) = written(&maker, linux, work, number);
        cut(&mut maker.disk, &steps, &loose, chance);
    }
    maker.disk
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(&KINDS[..])
}

fn works() -> impl Strategy<Value = Vec<(Work, Vec<bool>)>> {
    let chance = prop::collection::vec(prop::bool::weighted(0.8), 1..24);
    prop::collection::vec((work(), chance), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The proof that power may go while the plan is written.
    #[test]
    fn a_plan_cut_short_is_made_whole_by_the_next(
        kind in kinds(), padding in 0usize..12, works in works(),
        stages in 0usize..8, some in prop::collection::vec(any::<bool>(), 16),
    ) {
        let disk = damaged(kind, padding, &works);
        let (before, space) = disk.content().unwrap();
        let plan_whole = plan(&disk);
        prop_assert_eq!(&plan_whole.problem, &None);

        let mut whole = disk.clone();
        whole.apply(&plan_whole);
        let (after, room) = whole.content().unwrap();
        prop_assert!(plan(&whole).is_empty(), "{:?}", plan(&whole));
        prop_assert_eq!(room.free, space.free + plan_whole.lost_clusters);
        // Nothing new, and nothing that was not dropped is gone or another.
        let dropped = plan_whole.twins.len() + plan_whole.torn.len();
        prop_assert!(after.iter().all(|file| before.contains(file)));
        prop_assert!(after.len() + dropped >= before.len());

        let mut torn = disk.clone();
        for (number, stage) in plan_whole.stages.iter().enumerate() {
            for (patch, through) in stage.iter().zip(some.iter().cycle()) {
                if number < stages || (number == stages && *through) {
                    torn.write(patch.offset, &patch.bytes);
                }
            }
        }
        let plan_again = plan(&torn);
        torn.apply(&plan_again);
        prop_assert_eq!(torn.content().unwrap(), (after, room));
        prop_assert!(plan(&torn).is_empty());
    }
}

/// Each of the three kinds of damage, by itself.
#[test]
fn what_is_dropped_is_named() {
    let every = vec![true; 24];
    let cross = damaged(Kind::Fat32, 0, &[(Work::Cross, every.clone())]);
    assert_eq!(plan(&cross).torn, [NEW]);
    let refused = mend(&cross.volume(), "EFI/Linux", first, |_| false).unwrap();
    assert!(refused.is_empty());
    let problem = refused.problem.unwrap();
    assert!(problem.contains("belongs to another file"), "{problem}");

    let twin = damaged(Kind::Fat16, 0, &[(Work::Twin, every.clone())]);
    assert_eq!(plan(&twin).twins.len(), 1);
    assert_eq!(plan(&twin).lost_clusters, 0);

    let lost = damaged(Kind::Fat32, 0, &[(Work::Lose(300), every)]);
    let plan = plan(&lost);
    assert_eq!((plan.lost_clusters, plan.problem), (300, None));
    // FSINFO and the sectors of the second table, then those of the first.
    let counts: Vec<usize> = plan.stages.iter().map(Vec::len).collect();
    assert_eq!(counts, [4, 3]);
    let info = &plan.stages[0][0];
    assert_eq!((info.offset, &info.bytes[488..492]), (512, &[0xFF; 4][..]));
}

/// The table's sectors with a file's links were not written, its entry was.
#[test]
fn a_file_whose_links_were_not_written_is_given_up() {
    for kind in KINDS {
        let (mut maker, linux) = volume(kind, 0);
        let mut torn = maker.disk.clone();
        let (steps, loose) = vfat::write(&mut maker, linux, NEW, &vec![8; 300 * CLUSTER]);
        let first_link = maker.disk.volume().entry("EFI/Linux/orlop.new").unwrap();
        let skip = maker.table_entry(0, first_link.first_cluster) / 512 * 512;
        for (offset, bytes) in steps.iter().chain(&loose) {
            if *offset != skip {
                torn.write(*offset, bytes);
            }
        }
        let kept = mend(&torn.volume(), "EFI/Linux", first, |_| false).unwrap();
        assert!(kept.is_empty());
        assert!(
            kept.problem
                .unwrap()
                .contains("free in the allocation table")
        );
        let plan = plan(&torn);
        assert_eq!(
            (plan.torn.as_slice(), plan.problem.as_deref()),
            (&[NEW.to_owned()][..], None)
        );
        assert!(plan.lost_clusters > 0);
        let (untouched, _) = volume(kind, 0);
        torn.apply(&plan);
        assert_eq!(torn.content().unwrap(), untouched.disk.content().unwrap());
    }
}

/// A directory that cannot be read hides what it leads to, so nothing is freed; twins are mended.
#[test]
fn nothing_is_freed_when_a_directory_cannot_be_read() {
    let every = vec![true; 24];
    let mut disk = damaged(
        Kind::Fat16,
        0,
        &[(Work::Twin, every.clone()), (Work::Lose(9), every)],
    );
    let boot = disk.volume().entry("EFI/BOOT").unwrap();
    let (maker, _) = volume(Kind::Fat16, 0);
    disk.write(maker.table_entry(0, boot.first_cluster), &[0, 0]);
    let plan = plan(&disk);
    assert_eq!((plan.twins.len(), plan.lost_clusters), (1, 0));
    let problem = plan.problem.unwrap();
    assert!(problem.contains("the clusters of BOOT"), "{problem}");
}

/// A rename of a directory, torn before the new name has its cluster.
#[test]
fn directories_without_a_cluster_are_empty() {
    let (mut maker, linux) = volume(Kind::Fat32, 0);
    for short in [b"A          ", b"B          "] {
        let slot = short_slot(short, 0x10, 0, 0);
        maker.put(linux, &[slot]);
    }
    maker.allocate(3);
    assert_eq!(maker.disk.names("EFI/Linux/A"), [""; 0]);
    let plan = plan(&maker.disk);
    assert_eq!((plan.lost_clusters, plan.problem), (3, None));
}

/// The later sector of an entry was written, the earlier one still is zeros, and so ends the
/// directory for firmware and not for Linux.
#[test]
fn entries_behind_a_hole_are_not_freed_and_not_preferred() {
    for kind in KINDS {
        let (mut maker, linux) = volume(kind, 0);
        let first = entries(&maker)[0].first_cluster;
        let lone = maker.allocate(3)[0];
        let free = maker.free_slots(linux, 3);
        let places = [
            (free[1], b"A       EFI", first),
            (free[2], b"B       EFI", lone),
        ];
        for (offset, short, cluster) in places {
            maker
                .disk
                .write(offset, &short_slot(short, 0x20, cluster, 5));
        }
        let names = maker.disk.names("EFI/Linux");
        assert_eq!(names.len(), 3);
        let hidden = |entries: &[&Entry]| {
            assert!(entries.is_empty(), "nothing to choose");
            0
        };
        let plan = mend(&maker.disk.volume(), "EFI/Linux", hidden, |_| false).unwrap();
        assert_eq!(plan.twins, ["A.EFI"]);
        assert_eq!((plan.lost_clusters, &plan.problem), (0, &None));
        maker.disk.apply(&plan);
        assert_eq!(maker.disk.names("EFI/Linux"), names);
    }
}
