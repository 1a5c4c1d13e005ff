//! What firmware sees when power goes during a rename, and that mending leaves one name.

use orlop_fat::{Entry, mend};

use crate::maker::{CLUSTER, KINDS, Kind, Maker, ROOT};
use crate::vfat;

const OLD: &str = "orlop_2_2.0.0+2-1.efi";
const NEW: &str = "orlop_2_2.0.0.efi";

/// The one with a long name, and of these the newest.
fn longest(entries: &[&Entry]) -> usize {
    let rank = |entry: &Entry| (entry.name != entry.short_name, entry.name.clone());
    let ranked = entries
        .iter()
        .enumerate()
        .max_by_key(|(_, entry)| rank(entry));
    ranked.map_or(0, |(index, _)| index)
}

/// A volume with two entries, after so many slots that the renamed one lies across two sectors.
fn volume(kind: Kind, before: usize) -> (Maker, u32) {
    let mut maker = Maker::new(kind);
    let efi = maker.add_directory(ROOT, "EFI");
    let linux = maker.add_directory(efi, "Linux");
    for number in 0..before {
        let name = format!("{number}.txt");
        maker.add(linux, &name, name.as_bytes());
    }
    maker.add(linux, "orlop_1_1.0.0.efi", &vec![1; 3 * CLUSTER]);
    maker.add(linux, OLD, &vec![2; 5 * CLUSTER + 1]);
    (maker, linux)
}

/// The names of `orlop_2`, in the order of the directory, with their sizes.
fn seen(maker: &Maker) -> Vec<(String, u32)> {
    let entries = maker.disk.volume().directory("EFI/Linux").unwrap();
    let second = entries.into_iter().filter(|entry| {
        let name = entry.name.to_lowercase();
        name.starts_with("orlop_2") || name.starts_with("orlop_~")
    });
    second.map(|entry| (entry.name, entry.size)).collect()
}

#[test]
fn firmware_sees_the_old_name_both_or_the_new_one() {
    // 2 slots for the dots, 2 for each small file, 3 for each entry: the old one from slot 15 on.
    let (mut maker, linux) = volume(Kind::Fat32, 5);
    let mut torn = maker.clone();
    let size = (5 * CLUSTER + 1) as u32;
    let (old, new) = ((OLD.to_owned(), size), (NEW.to_owned(), size));
    let mut history = vec![seen(&torn)];
    for (offset, bytes) in vfat::rename(&mut maker, linux, OLD, NEW) {
        torn.disk.write(offset, &bytes);
        history.push(seen(&torn));
    }
    let empty = (NEW.to_owned(), 0);
    let expected = [
        vec![old.clone()],
        // The new long name and 8.3 name are in one sector here.
        vec![old.clone(), empty],
        vec![old, new.clone()],
        // The sector with the old 8.3 name, then the one with its long name's last part.
        vec![new.clone()],
        vec![new],
    ];
    assert_eq!(history, expected);
}

#[test]
fn one_name_is_left_wherever_power_goes() {
    for kind in KINDS {
        // Enough for each place that slots can have in their sectors, and for a new cluster.
        for before in 0..16 {
            let (mut maker, linux) = volume(kind, before);
            let mut torn = maker.clone();
            let steps = vfat::rename(&mut maker, linux, OLD, NEW);
            let (files, _) = maker.disk.content().unwrap();
            let content = |name: &str| files.iter().find(|file| file.0.ends_with(name));
            for step in 0..=steps.len() {
                if let Some((offset, bytes)) = step.checked_sub(1).map(|last| &steps[last]) {
                    torn.disk.write(*offset, bytes);
                }
                let mut disk = torn.disk.clone();
                let plan = mend(&disk.volume(), "EFI/Linux", longest, |_| false).unwrap();
                assert_eq!(plan.problem, None);
                disk.apply(&plan);
                let again = mend(&disk.volume(), "EFI/Linux", longest, |_| false).unwrap();
                assert!(again.is_empty(), "{again:?}");
                let (left, _) = disk.content().unwrap();
                let second = left.iter().filter(|(_, bytes)| bytes.first() == Some(&2));
                let second: Vec<_> = second.collect();
                let [(_, bytes)] = second.as_slice() else {
                    panic!("{before}, step {step}: {:?}", disk.names("EFI/Linux"));
                };
                assert!(Some(bytes) == content(NEW).map(|(_, bytes)| bytes));
                let first = left
                    .iter()
                    .find(|file| file.0.ends_with("orlop_1_1.0.0.efi"));
                assert!(first == content("orlop_1_1.0.0.efi"));
            }
        }
    }
}
