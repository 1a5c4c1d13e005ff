//! Listing and reading volumes that nothing is wrong with, or one thing.

use std::io::{Cursor, Read, Seek, SeekFrom};

use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::{FatVolume, FatVolumeWriteExt};
use orlop_fat::{FatError, Fault, Volume};

use crate::disk::Disk;
use crate::maker::{CLUSTER, KINDS, Kind, Maker, ROOT, entry_slots, short_slot};

const LONG: &str = "orlop_2_2.0.0-a-version-name-as-long-as-64-characters-or-more+2-1.efi";

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 / 3) as u8).collect()
}

#[test]
fn files_are_found_by_either_name_in_any_case() {
    for kind in KINDS {
        let mut maker = Maker::new(kind);
        let efi = maker.add_directory(ROOT, "EFI");
        let linux = maker.add_directory(efi, "Linux");
        let bytes = pattern(5 * CLUSTER + 17);
        // Holes between its clusters.
        let hole = maker.allocate(1)[0];
        maker.add(linux, LONG, &bytes);
        maker.set(hole, 0);
        maker.add(linux, "orlop_1_1.0.0.efi", &bytes[..3 * CLUSTER]);
        maker.add(linux, "empty.efi", b"");
        let volume = maker.disk.volume();
        for path in ["EFI/Linux", "/efi/linux/", "EFI~1/LINUX~1"] {
            let entries = volume.directory(path).unwrap();
            let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, [LONG, "orlop_1_1.0.0.efi", "empty.efi"]);
        }
        for path in [format!("efi/linux/{LONG}"), "EFI/LINUX/orlop_~1.efi".into()] {
            let entry = volume.entry(&path).unwrap();
            assert_eq!(entry.name, LONG);
            assert_eq!(entry.short_name, "ORLOP_~1.EFI");
            assert_eq!(entry.slots.len(), 7);
            assert_eq!(volume.clusters(&entry).unwrap().len(), 6);
            assert!(volume.read(&entry).unwrap() == bytes);
        }
        assert!(matches!(volume.entry("EFI/no"), Err(FatError::Missing(_))));
        let missing = volume.directory("no/Linux").unwrap_err().to_string();
        assert_eq!(missing, "there is no no/Linux on the boot partition");
        let no = volume.directory("EFI/Linux/empty.efi");
        assert!(matches!(no, Err(FatError::Kind { .. })));
        let space = volume.space().unwrap();
        let root = u32::from(kind == Kind::Fat32);
        assert_eq!(space.clusters, maker.clusters);
        assert_eq!(space.free, maker.clusters - root - 2 - 6 - 3);
        assert_eq!(space.cluster_bytes as usize, CLUSTER);
    }
}

#[test]
fn a_reader_reads_from_any_place() {
    let mut maker = Maker::new(Kind::Fat16);
    let bytes = pattern(4 * CLUSTER + 100);
    maker.add(ROOT, "a", &bytes);
    let volume = maker.disk.volume();
    let mut reader = volume.reader(&volume.entry("a").unwrap()).unwrap();
    let places = [0, 1, 511, 1024, 2047, 4096, 4195, 4196, 9999];
    for place in places {
        reader.seek(SeekFrom::Start(place)).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        let expected = bytes.get(place as usize..).unwrap_or_default();
        assert!(rest == expected, "from {place}");
    }
    assert_eq!(reader.seek(SeekFrom::End(-100)).unwrap(), 4096);
    assert!(reader.seek(SeekFrom::End(-5000)).is_err());
}

#[test]
fn chains_that_lead_astray_are_errors() {
    let cases = [
        (0, Fault::Free),
        (0xFFF7, Fault::Bad),
        (1, Fault::Outside),
        (4202, Fault::Outside),
        (2, Fault::Loop),
        (3, Fault::Loop),
        (4, Fault::Loop),
    ];
    for (value, expected) in cases {
        let mut maker = Maker::new(Kind::Fat16);
        maker.add(ROOT, "a", &pattern(4 * CLUSTER));
        maker.set(4, value);
        let volume = maker.disk.volume();
        let entry = volume.entry("a").unwrap();
        match volume.read(&entry) {
            Err(FatError::Chain { fault, .. }) => assert_eq!(fault, expected, "{value}"),
            other => panic!("{value}: {other:?}"),
        }
    }
    let mut maker = Maker::new(Kind::Fat16);
    maker.add(ROOT, "a", &pattern(4 * CLUSTER));
    maker.set(4, 0xFFFF);
    let volume = maker.disk.volume();
    let entry = volume.entry("a").unwrap();
    let error = volume.read(&entry).unwrap_err().to_string();
    assert_eq!(
        error,
        "a on the boot partition has 3 clusters; expected 4 for its size of 4096 bytes: its writing \
         was interrupted, write it anew"
    );
}

/// The rules of EDK2's `FatLoadLongNameEntry` and `FatLoadNextDirEnt`.
#[test]
fn torn_long_names_leave_the_short_one() {
    let short = *b"ORLOP_~1EFI";
    let whole = entry_slots("orlop_1_1.0.0+3.efi", &short, 0x20, 0, 0);
    let changes: [(&str, usize, usize, u8); 6] = [
        ("a long-name slot that was removed", 0, 0, 0xE5),
        ("the nearer one", 1, 0, 0xE5),
        ("another number", 1, 0, 2),
        ("another checksum", 0, 13, 1),
        ("attributes", 0, 11, 0x2F),
        ("bytes that should be 0", 1, 26, 1),
    ];
    for (what, slot, at, value) in changes {
        let mut slots = whole.clone();
        slots[slot][at] = value;
        let mut maker = Maker::new(Kind::Fat16);
        maker.put(ROOT, &slots);
        let entry = maker.disk.volume().entry("ORLOP_~1.EFI").unwrap();
        assert_eq!(entry.name, "ORLOP_~1.EFI", "{what}");
        assert_eq!(entry.slots.len(), 1, "{what}");
    }
    let mut maker = Maker::new(Kind::Fat16);
    // The last part of another long name before the whole one does not matter.
    maker.put(ROOT, &whole[..1]);
    maker.put(ROOT, &whole);
    // A label, also one that begins with 0, is no entry and no end; a slot of zeros is.
    maker.put(ROOT, &[short_slot(b"ORLOP-ESP  ", 0x08, 0, 0)]);
    let slots = maker.free_slots(ROOT, 4);
    let label = short_slot(b"\0          ", 0x08, 0, 0);
    maker.disk.write(slots[0], &label);
    maker
        .disk
        .write(slots[1], &short_slot(b"B          ", 0x20, 0, 0));
    maker
        .disk
        .write(slots[3], &short_slot(b"C          ", 0x20, 0, 0));
    assert_eq!(maker.disk.names(""), ["orlop_1_1.0.0+3.efi", "B"]);
}

#[test]
fn other_volumes_are_refused() {
    let cases: [(usize, &[u8], &str); 10] = [
        (11, &[0, 8], "2048 bytes a sector"),
        (13, &[0], "0 sectors a cluster"),
        (13, &[3], "3 sectors a cluster"),
        (13, &[4], "FAT12 is not read"),
        (14, &[0, 0], "a reserved sector"),
        (16, &[0], "0 allocation tables"),
        (17, &[1, 0], "1 root slots"),
        (21, &[1], "media 0x1"),
        (22, &[1, 0], "allocation tables of 1 sectors"),
        (32, &[0, 0, 0, 0], "0 bytes"),
    ];
    for (at, bytes, message) in cases {
        let mut maker = Maker::new(Kind::Fat16);
        maker.disk.write(at as u64, bytes);
        let error = Volume::open(&maker.disk).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let cases: [(usize, &[u8], &str); 5] = [
        (17, &[16, 0], "16 root slots"),
        (32, &[0xFF, 0xFF, 0xFF, 0xFF], "at most 16 GiB"),
        (40, &[0x80, 0], "tables that are kept alike"),
        (42, &[1, 0], "version 0x1"),
        (44, &[1, 0, 0, 0], "root cluster 1"),
    ];
    for (at, bytes, message) in cases {
        let mut maker = Maker::new(Kind::Fat32);
        maker.disk.write(at as u64, bytes);
        let error = Volume::open(&maker.disk).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(matches!(Volume::open(&Disk::new(0)), Err(FatError::Io(_))));
}

/// As `orlop-image` writes a boot partition.
#[test]
fn what_hadris_writes_is_read() {
    const SIZE: usize = 64 << 20;
    let options = FatFormatOptions::new(SIZE as u64)
        .fat_type(FatTypeSelection::Fat32)
        .volume_label("ORLOP-ESP");
    let mut bytes = vec![0; SIZE];
    drop(FatVolumeFormatter::format(Cursor::new(&mut bytes[..]), options).unwrap());
    let content = pattern(300_001);
    {
        let volume = FatVolume::open(Cursor::new(&mut bytes[..])).unwrap();
        let efi = volume.create_dir(&volume.root_dir(), "EFI").unwrap();
        let linux = volume.create_dir(&efi, "Linux").unwrap();
        let entry = volume.create_file(&linux, LONG).unwrap();
        let mut writer = volume.write_file(&entry).unwrap();
        let mut left = content.as_slice();
        while !left.is_empty() {
            let count = writer.write(left).unwrap();
            left = &left[count..];
        }
        writer.finish().unwrap();
        volume.sync().unwrap();
    }
    let volume = Volume::open(bytes).unwrap();
    let entry = volume.entry(&format!("EFI/Linux/{LONG}")).unwrap();
    assert_eq!(entry.name, LONG);
    assert!(volume.read(&entry).unwrap() == content);
    let plan = orlop_fat::mend(&volume, "EFI/Linux", |_| 0, |_| false).unwrap();
    assert_eq!(plan, orlop_fat::Mend::default());
}
