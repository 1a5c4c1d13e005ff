//! The same volumes through Debian's tools: mtools and dosfstools.

use std::path::Path;
use std::process::{Command, Output};

use orlop_fat::mend;

use crate::disk::Disk;
use crate::maker::{CLUSTER, KINDS, Maker, ROOT};
use crate::vfat;

/// The command `name`, looked for also in the directories of administration; none where the package
/// is not installed, which is an error where all tests are to run.
fn tool(name: &str) -> Option<Command> {
    let own = std::env::var("PATH").unwrap_or_default();
    let path = format!("{own}:/usr/sbin:/sbin");
    if path
        .split(':')
        .any(|directory| Path::new(directory).join(name).exists())
    {
        let mut command = Command::new(name);
        command.env("PATH", path).env("MTOOLS_SKIP_CHECK", "1");
        return Some(command);
    }
    let why = format!("skipped: {name} is not installed (packages dosfstools and mtools)");
    assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
    eprintln!("{why}");
    None
}

fn run(name: &str, arguments: &[&str]) -> Option<Output> {
    let output = tool(name)?.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {out}{err}");
    Some(output)
}

/// `fsck.vfat` finds nothing amiss.
fn check(disk: &Disk, path: &Path) {
    disk.store(path);
    run("fsck.vfat", &["-n", &path.display().to_string()]);
}

const NAMES: [&str; 5] = [
    "orlop_1_1.0.0.efi",
    "orlop_2_2.0.0+2-1.efi",
    "orlop_3_a-version-of-very-many-characters-0123456789012345678901234567890+3.efi",
    "loader.conf",
    "README.TXT",
];

#[test]
fn what_mtools_writes_is_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, megabytes) in [("16", 16), ("32", 64)] {
        let path = dir.path().join(bits);
        let image = path.display().to_string();
        Disk::new(megabytes << 20).store(&path);
        let made = run("mkfs.vfat", &["-F", bits, "-n", "ORLOP-ESP", &image]);
        if made.is_none() || run("mmd", &["-i", &image, "::/EFI", "::/EFI/Linux"]).is_none() {
            return;
        }
        for (number, name) in NAMES.iter().enumerate() {
            let source = dir.path().join("source");
            std::fs::write(&source, vec![number as u8; 100_000 * number + number]).unwrap();
            let (source, target) = (source.display().to_string(), format!("::/EFI/Linux/{name}"));
            run("mcopy", &["-i", &image, "-o", &source, &target]);
        }
        run(
            "mdel",
            &["-i", &image, &format!("::/EFI/Linux/{}", NAMES[0])],
        );
        let output = run("mdir", &["-i", &image, "-b", "::/EFI/Linux"]).unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let listed: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.rsplit('/').next())
            .collect();
        let disk = Disk::load(&path);
        assert_eq!(disk.names("EFI/Linux"), listed);
        assert_eq!(listed, NAMES[1..]);
        let volume = disk.volume();
        for name in &NAMES[1..] {
            let below = format!("EFI/Linux/{name}");
            let bytes = volume.read(&volume.entry(&below).unwrap()).unwrap();
            let output = run("mtype", &["-i", &image, &format!("::/{below}")]).unwrap();
            assert!(output.stdout == bytes, "{name}");
        }
        let plan = mend(&volume, "EFI/Linux", |_| 0, |_| false).unwrap();
        assert_eq!(plan, orlop_fat::Mend::default());
    }
}

#[test]
fn a_mended_volume_is_consistent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("esp");
    for kind in KINDS {
        let mut maker = Maker::new(kind);
        let efi = maker.add_directory(ROOT, "EFI");
        let linux = maker.add_directory(efi, "Linux");
        maker.add(linux, NAMES[1], &vec![1; 300 * CLUSTER]);
        maker.add(linux, NAMES[0], &vec![2; 3 * CLUSTER]);
        let mut torn = maker.disk.clone();
        // Both names are there; a new file's first link is not; a removed one's clusters are.
        let steps = vfat::rename(&mut maker, linux, NAMES[1], NAMES[2]);
        for (offset, bytes) in &steps[..steps.len() - 1] {
            torn.write(*offset, bytes);
        }
        maker.disk = torn;
        let (steps, _) = vfat::unlink(&mut maker.clone(), NAMES[0]);
        for (offset, bytes) in steps {
            maker.disk.write(offset, &bytes);
        }
        let mut torn = maker.disk.clone();
        let (steps, loose) = vfat::write(&mut maker, linux, "orlop.new", &vec![3; 500 * CLUSTER]);
        let entry = maker.disk.volume().entry("EFI/Linux/orlop.new").unwrap();
        let links = maker.table_entry(0, entry.first_cluster) / 512 * 512;
        for (offset, bytes) in steps.iter().chain(&loose) {
            if *offset != links {
                torn.write(*offset, bytes);
            }
        }
        let give_up = |entry: &orlop_fat::Entry| entry.name == "orlop.new";
        let plan = mend(&torn.volume(), "EFI/Linux", |_| 1, give_up).unwrap();
        assert_eq!((plan.twins.len(), plan.torn.len()), (1, 1));
        assert!(plan.lost_clusters > 3);
        assert_eq!(plan.problem, None);
        torn.apply(&plan);
        assert_eq!(torn.names("EFI/Linux"), [NAMES[2]]);
        check(&torn, &path);
    }
}
