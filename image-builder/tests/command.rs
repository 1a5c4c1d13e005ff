//! `orlop-image build` as a command: what it prints, and both of its formats.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;

use orlop_image::inspect::SlotContent;

const HOST: &str = "name = \"plain\"\nversion = \"1\"\n\
                    [disk]\nesp = \"128M\"\nstate = \"160M\"\n";

/// A directory with a host TOML and with what stands for our programs.
fn project(dir: &Path) {
    fs::create_dir(dir.join("bin")).unwrap();
    programs::put(&dir.join("bin"));
    fs::write(dir.join("plain.toml"), HOST).unwrap();
}

/// Builds with `arguments`; gives what the command printed.
fn build(dir: &Path, arguments: &[&str]) -> String {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cache");
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-image"));
    command.current_dir(dir).args(["build", "plain.toml"]);
    command.args(["--binaries", "bin", "--cache"]).arg(cache);
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs qemu-img; nothing when it is not there, which `cargo vm test` forbids.
fn qemu_img(dir: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("qemu-img");
    let output = match command.current_dir(dir).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = "qemu-img is not installed, so nothing is checked";
            assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        Err(error) => panic!("qemu-img: {error}"),
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    Some(text)
}

#[test]
fn a_qcow2_disk_holds_what_the_raw_one_does() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    if qemu_img(dir.path(), &["--version"]).is_none() {
        return;
    }
    // Without a name for it, the disk is named as the host TOML is.
    build(dir.path(), &["--format", "raw"]);
    build(dir.path(), &["--format", "qcow2"]);
    let info = qemu_img(dir.path(), &["info", "plain.qcow2"]).unwrap();
    assert!(info.contains("file format: qcow2"), "{info}");
    let formats = ["compare", "-f", "raw", "-F", "qcow2"];
    let compare = [&formats[..], &["plain.img", "plain.qcow2"]].concat();
    let said = qemu_img(dir.path(), &compare).unwrap();
    // Another size would be told as a warning.
    assert_eq!(said.trim(), "Images are identical.");
    // No half of a conversion is left beside it.
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let all = ["bin", "plain.img", "plain.img.d"];
    let rest = ["plain.qcow2", "plain.qcow2.d", "plain.toml"];
    assert_eq!(names, [all, rest].concat());
}

#[test]
fn the_closing_summary_names_the_parts_and_the_root_hash() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path());
    let said = build(dir.path(), &["--output", "disk.img"]);
    let place = dir.path().canonicalize().unwrap();
    let disk = place.join("disk.img").display().to_string();
    let (first, rest) = said.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("{disk}  built in ")), "{said}");
    let row = |name: &str| {
        let mut rows = rest.lines().filter_map(|row| row.trim().strip_prefix(name));
        let row = rows.next().unwrap_or_else(|| panic!("no {name}:\n{said}"));
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for name in ["kernel", "initramfs", "disk image"] {
        assert!(row(name).contains(" MiB"), "{name}:\n{said}");
    }
    // The sizes of partitions are those of the host TOML and of the layout.
    for (name, room) in [
        ("unified kernel image", "128.0 MiB"),
        ("root", "128.0 MiB"),
        ("hash tree", "2.0 MiB"),
        ("state", "160.0 MiB"),
    ] {
        let row = row(name);
        assert!(row.ends_with(&format!(" MiB of {room}")), "{name}: {row}");
    }
    let found = orlop_image::inspect::inspect(&place.join("disk.img")).unwrap();
    let SlotContent::Good { root_hash, .. } = &found.slots[0].1 else {
        panic!("{:?}", found.slots);
    };
    assert_eq!(&row("root hash"), root_hash);
    assert_eq!(row("for direct boot"), format!("{disk}.d"));
    assert!(
        row("to update with").contains("no bundle; --sign KEY"),
        "{said}"
    );
}
