//! Volumes with bytes that nobody wrote: nothing panics, everything ends, and no file is harmed.

use orlop_fat::{SECTOR, Volume, mend};
use proptest::prelude::*;

use crate::disk::Disk;
use crate::maker::{CLUSTER, KINDS, Maker, ROOT};

fn sound(kind: usize) -> Disk {
    let mut maker = Maker::new(KINDS[kind]);
    let efi = maker.add_directory(ROOT, "EFI");
    let linux = maker.add_directory(efi, "Linux");
    let deep = maker.add_directory(linux, "a directory with a longer name");
    for number in 1..5u8 {
        let name = format!("orlop_{number}_1.0.0+3-1.efi");
        maker.add(linux, &name, &vec![number; usize::from(number) * CLUSTER]);
        maker.add(deep, &name, &[number; 99]);
    }
    maker.disk
}

/// Reads all there is, plans, and carries the plan out.
fn check(disk: &Disk) {
    let Ok(volume) = Volume::open(disk) else {
        return;
    };
    let before = disk.content();
    let Ok(plan) = mend(&volume, "EFI/Linux", |_| 0, |entry| entry.size < 9) else {
        return;
    };
    let mut after = disk.clone();
    after.apply(&plan);
    let (Ok((before, _)), Ok((after, _))) = (before, after.content()) else {
        return;
    };
    // Of names that occur twice a path finds the first, which may be another one now.
    let once = |path: &str| before.iter().filter(|(other, _)| other == path).count() == 1;
    for (path, bytes) in before.iter().filter(|(path, _)| once(path)) {
        let now = after.iter().find(|(other, _)| other == path);
        let dropped = plan.twins.iter().chain(&plan.torn);
        let gone = dropped.into_iter().any(|name| path.contains(name.as_str()));
        assert!(
            gone || now.is_some_and(|(_, now)| now == bytes),
            "{path}: {plan:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn single_bytes(
        kind in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u64..512, any::<u8>()), 1..12),
    ) {
        let mut disk = sound(kind);
        let used = disk.used();
        for (sector, at, byte) in changes {
            disk.write(sector.get(&used) + at, &[byte]);
        }
        check(&disk);
    }

    /// The values that make chains cross and loop, rather than end nowhere.
    #[test]
    fn links_and_first_clusters(
        kind in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u64..128, 0u8..40), 1..12),
    ) {
        let mut disk = sound(kind);
        let used: Vec<u64> = disk.used().into_iter().skip(1).collect();
        for (sector, at, byte) in changes {
            disk.write(sector.get(&used) + at * 4, &[byte, 0]);
        }
        check(&disk);
    }

    /// Sectors that come from elsewhere on the volume, or not at all.
    #[test]
    fn whole_sectors(
        kind in 0usize..2,
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..=SECTOR), 1..5,
        ),
    ) {
        let mut disk = sound(kind);
        let used = disk.used();
        for (from, to, count) in changes {
            let bytes = disk.bytes(*from.get(&used), count);
            disk.write(*to.get(&used), &bytes);
        }
        check(&disk);
    }

    #[test]
    fn boot_sectors(bytes in prop::collection::vec(any::<u8>(), 90)) {
        let mut disk = sound(0);
        disk.write(11, &bytes);
        check(&disk);
    }
}
