//! Names in systemd-boot's order, and as the slot model has them.

use super::*;
use orlop_slot::BootEntry;
use proptest::prelude::*;

#[test]
fn which_files_count() {
    for name in ["orlop_1_1.0.efi", "ORLOP_~1.EFI", "x.Efi"] {
        assert!(counts(name), "{name}");
    }
    for name in [
        ".efi",
        ".x.efi",
        "auto-x.efi",
        "orlop_1_1.0.part",
        "efi",
        "",
        "é.ef",
    ] {
        assert!(!counts(name), "{name}");
    }
}

#[test]
fn counters() {
    let some = |left, done| Some(Tries { left, done });
    for (name, expected) in [
        ("a.efi", None),
        ("a+3.efi", some(3, 0)),
        ("a+2-1.EFI", some(2, 1)),
        ("a+0-3.efi", some(0, 3)),
        ("a+7+3.efi", some(3, 0)),
        ("a+.efi", None),
        ("a+3-.efi", None),
        ("a+3x.efi", None),
        ("a+3.conf", None),
        ("a+2147483648.efi", None),
        ("a+99999999999999999999.efi", None),
    ] {
        assert_eq!(tries(name), expected, "{name}");
    }
}

#[test]
fn order() {
    for names in [
        &["orlop_10_1.0.efi", "orlop_9_2.0.efi"][..],
        &["orlop_2_1.1+3.efi", "orlop_1_1.0.efi", "ORLOP_~1.EFI"],
        // Of one serial, as after a torn rename.
        &[
            "orlop_2_1.1+3.efi",
            "orlop_2_1.1+2-1.efi",
            "orlop_2_1.1.efi",
        ],
        &[
            "orlop_1_1.0.efi",
            "ORLOP_~2.EFI",
            "ORLOP_~1.EFI",
            "orlop_2_1.1+0-3.efi",
        ],
    ] {
        let mut sorted = names.to_vec();
        sorted.reverse();
        sorted.sort_by(|a, b| compare(a, b));
        assert_eq!(sorted, names);
    }
}

#[test]
fn versions_as_rpm_has_them() {
    // From the comments in systemd's strverscmp_improved, each list from old to new.
    for list in [
        &["~rc1", "", "^1"][..],
        &[
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-3",
            "123^patch1",
            "123.a-1",
        ],
        &["a", "b", "1a", "9a", "10a"],
    ] {
        for (at, old) in list.iter().enumerate() {
            for new in &list[at + 1..] {
                assert_eq!(
                    versions(old.as_bytes(), new.as_bytes()),
                    Ordering::Less,
                    "{old} {new}"
                );
                assert_eq!(versions(new.as_bytes(), old.as_bytes()), Ordering::Greater);
            }
        }
    }
    assert_eq!(versions(b"a_001", b"a+1"), Ordering::Equal);
}

fn entry() -> impl Strategy<Value = BootEntry> {
    let tries = prop::option::of((0_u32..4, 0_u32..4));
    (1_u32..200, tries).prop_map(|(serial, tries)| BootEntry {
        serial,
        // One version for each serial, as each install has.
        version: format!("{}.0-rc{}", serial % 7, serial % 3),
        tries: tries.map(|(left, done)| Tries { left, done }),
    })
}

proptest! {
    #[test]
    fn ours_are_sorted_as_the_slot_model_does(entries in prop::collection::vec(entry(), 0..6)) {
        let mut expected = entries.clone();
        orlop_slot::boot_order(&mut expected);
        let mut names: Vec<String> = entries.iter().map(BootEntry::to_string).collect();
        names.sort_by(|a, b| compare(a, b));
        let expected: Vec<String> = expected.iter().map(BootEntry::to_string).collect();
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn any_names_have_an_order(a in "\\PC{0,12}", b in "[a-b0-1~.^_+-]{0,8}", c in "[a-b0-1~.^_+-]{0,8}") {
        let _ = (counts(&a), tries(&a), compare(&a, &b));
        prop_assert_eq!(compare(&c, &b), compare(&b, &c).reverse());
        prop_assert_eq!(compare(&c, &c), Ordering::Equal);
    }
}
