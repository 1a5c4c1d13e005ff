//! Growth on plain files, made and judged by sfdisk, and cut at every write.

use super::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1024 * 1024;

/// A disk made by sfdisk at `small` bytes and then enlarged to `large`.
fn disk(dir: &Path, script: &str, small: u64, large: u64) -> File {
    let path = dir.join("disk");
    let file = File::create_new(&path).unwrap();
    file.set_len(small).unwrap();
    let mut child = Command::new("/sbin/sfdisk")
        .arg("-q")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("sfdisk (Debian package fdisk)");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    file.set_len(large).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

const TABLE: &str =
    "label: gpt\nsize=8MiB,name=esp\nsize=8MiB,name=root-a\nsize=16MiB,name=state\n";

fn grown(file: &File) -> Result<Plan, Error> {
    let bytes = file.metadata().unwrap().len();
    grow(
        &Disk {
            file,
            bytes,
            sector: 512,
        },
        "state",
    )
}

fn verify(path: &Path) -> String {
    let out = Command::new("/sbin/sfdisk")
        .arg("-V")
        .arg(path)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    assert!(out.status.success());
    String::from_utf8(text).unwrap()
}

#[test]
fn the_last_partition_grows_and_sfdisk_agrees() {
    let dir = tempfile::tempdir().unwrap();
    for (n, large) in [80 * MIB, 100 * MIB + 512, 3000 * MIB]
        .into_iter()
        .enumerate()
    {
        let sub = dir.path().join(n.to_string());
        std::fs::create_dir(&sub).unwrap();
        let file = disk(&sub, TABLE, 40 * MIB, large);
        let plan = grown(&file).unwrap();
        assert!(plan.grows);
        assert_eq!(plan.extent.number, 3);
        assert_eq!(plan.extent.start, 17 * MIB);
        let end = plan.extent.start + plan.extent.length;
        assert!(
            end.is_multiple_of(MIB) && large - end <= MIB + 33 * 512,
            "{end}"
        );
        assert!(verify(&sub.join("disk")).contains("No errors detected"));
        let dump = Command::new("/sbin/sfdisk")
            .arg("-d")
            .arg(sub.join("disk"))
            .output()
            .unwrap();
        let dump = String::from_utf8(dump.stdout).unwrap();
        assert!(
            dump.contains(&format!("size={:>12}", plan.extent.length / 512)),
            "{dump}"
        );
        // Again: nothing is left to write.
        let again = grown(&file).unwrap();
        assert_eq!(
            (again.groups.len(), again.grows, again.extent),
            (0, false, plan.extent)
        );
    }
}

#[test]
fn a_cut_at_any_write_leaves_one_whole_table_and_a_second_run_finishes() {
    let dir = tempfile::tempdir().unwrap();
    let file = disk(dir.path(), TABLE, 40 * MIB, 64 * MIB);
    let before = std::fs::read(dir.path().join("disk")).unwrap();
    let wanted = plan(
        &Disk {
            file: &file,
            bytes: 64 * MIB,
            sector: 512,
        },
        "state",
    )
    .unwrap();
    assert_eq!(wanted.groups.len(), 5);
    grown(&file).unwrap();
    let after = std::fs::read(dir.path().join("disk")).unwrap();
    let writes: Vec<_> = wanted.groups.iter().flatten().collect();
    for cut in 0..writes.len() {
        // The write at the cut is half done: at a sector's boundary where it has
        // several, else not at all or (worse than a disk does) torn in the middle.
        for torn in [0, writes[cut].1.len() / 2] {
            file.write_all_at(&before, 0).unwrap();
            for (offset, bytes) in &writes[..cut] {
                file.write_all_at(bytes, *offset).unwrap();
            }
            let (offset, bytes) = writes[cut];
            file.write_all_at(&bytes[..torn], *offset).unwrap();
            let again = grown(&file).unwrap();
            assert_eq!(again.extent, wanted.extent, "cut {cut}, {torn} bytes");
            let now = std::fs::read(dir.path().join("disk")).unwrap();
            assert!(now == after, "cut {cut}, {torn} bytes: the disk differs");
        }
    }
}

#[test]
fn what_must_not_grow_is_refused_with_the_reason() {
    let after = "label: gpt\nsize=8MiB,name=state\nsize=8MiB,name=root-a\n";
    let none = "label: gpt\nsize=8MiB,name=esp\n";
    for (script, want) in [(after, "comes after it"), (none, "no partition is named")] {
        let dir = tempfile::tempdir().unwrap();
        let file = disk(dir.path(), script, 40 * MIB, 64 * MIB);
        let before = std::fs::read(dir.path().join("disk")).unwrap();
        let error = grown(&file).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert!(std::fs::read(dir.path().join("disk")).unwrap() == before);
    }
    let file = tempfile::tempfile().unwrap();
    file.set_len(MIB).unwrap();
    assert!(matches!(grown(&file), Err(Error::NoTable(_))));
    file.set_len(1000).unwrap();
    assert!(matches!(grown(&file), Err(Error::Unsuitable(_))));
}

#[test]
fn the_checksum_is_the_common_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

proptest::proptest! {
    #[test]
    fn mangled_tables_never_panic(changes in proptest::collection::vec((0..17408_usize, 0..=255_u8), 1..8), fix in proptest::bool::ANY) {
        let mut image = vec![0; MIB as usize];
        let mut entries = vec![0; 128 * 128];
        entries[..16].copy_from_slice(&[7; 16]);
        put(&mut entries, 32, &64_u64.to_le_bytes());
        put(&mut entries, 40, &90_u64.to_le_bytes());
        for (i, unit) in "state".encode_utf16().enumerate() {
            put(&mut entries, 56 + 2 * i, &unit.to_le_bytes());
        }
        put(&mut image, 1024, &entries);
        put(&mut image, 512, SIGNATURE);
        for (at, value) in [(12, 92_u32), (24, 1), (72, 2), (80, 128), (84, 128), (88, crc32(&entries))] {
            put(&mut image, 512 + at, &value.to_le_bytes());
        }
        for (at, byte) in changes {
            image[512 + at] = byte;
        }
        if fix {
            let sum = crc32(&image[1024..1024 + 128 * 128]);
            put(&mut image, 512 + 88, &sum.to_le_bytes());
            seal(&mut image[512..1024]);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&image).unwrap();
        let _ = plan(&Disk { file: &file, bytes: MIB, sector: 512 }, "state");
    }
}
