//! Whole builds, with Debian's real packages and busybox in the place of our
//! programs.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used)]

mod programs;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_bundle::SecretKey;
use orlop_image::inspect::{SlotContent, inspect};
use orlop_image::{BuildReport, BuildRequest, Compression, Format, Progress, build};

#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn step(&mut self, _: &str) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

const HOST: &str = r#"
name = "test"
version = "1.0.0"

[disk]
esp = "128M"
state = "160M"

[image]
units = ["units/web.toml"]
"#;

const UNIT: &str = "[container]\nimage = \"localhost/web:1\"\n";

/// A directory with a host TOML and with what stands for our programs.
fn project(dir: &Path, host: &str) -> BuildRequest {
    fs::create_dir_all(dir.join("units")).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("host.toml"), host).unwrap();
    fs::write(dir.join("units/web.toml"), UNIT).unwrap();
    programs::put(&dir.join("bin"));
    BuildRequest {
        pki: None,
        sign: Vec::new(),
        endorsements: Vec::new(),
        host: dir.join("host.toml"),
        output: dir.join("disk.img"),
        format: Format::Raw,
        cache: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache"),
        binaries: dir.join("bin"),
        compression: Compression::None,
        time: 1_735_689_600,
    }
}

fn failure(host: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let request = project(dir.path(), host);
    let error = build(&request, &mut Notes::default()).unwrap_err();
    assert!(!request.output.exists(), "a failed build left a disk");
    format!("{error:#}")
}

fn run(program: &str, arguments: &[&str]) -> String {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// Cuts a partition out of a disk.
fn cut(disk: &Path, name: &str, to: &Path) -> String {
    let found = inspect(disk).unwrap();
    let (_, extent) = found
        .partitions
        .iter()
        .find(|(label, _)| label == name)
        .unwrap();
    let mut file = fs::File::open(disk).unwrap();
    file.seek(SeekFrom::Start(extent.start)).unwrap();
    let mut out = fs::File::create(to).unwrap();
    std::io::copy(&mut file.take(extent.len), &mut out).unwrap();
    to.display().to_string()
}

/// A project as the demo is: with a container image, made there and now, and
/// with the authority of its operators; and with a key that signs its updates.
fn whole_project(dir: &Path, authority: &str) -> BuildRequest {
    let host = HOST.replace(
        "units = ",
        "containers = [{ source = \"web.tar\", reference = \"localhost/web:1\" }]\nunits = ",
    );
    let key = SecretKey::from_seed(&[1; 32]);
    let public = key.public().id();
    let more = format!("[api]\nclient-ca = \"ca.crt\"\n[update]\nkeys = [\"{public}\"]\n");
    let mut request = project(dir, &format!("{host}\n{more}"));
    request.sign = vec![dir.join("sign.key")];
    fs::write(&request.sign[0], key.to_pem().unwrap()).unwrap();
    fs::write(dir.join("ca.crt"), authority).unwrap();
    let page = dir.join("index.html");
    fs::write(&page, "<p>hello").unwrap();
    let archive = dir.join("web.tar").display().to_string();
    let file = format!("{}:/srv/index.html", page.display());
    let words = ["oci", "--reference=localhost/web:1", "--cmd=/web", "--file"];
    let words = [&words[..], &[&file, "--output", &archive]].concat();
    run(env!("CARGO_BIN_EXE_orlop-image"), &words);
    request
}

#[test]
fn two_builds_at_other_times_and_places_give_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
    let authority = made.cert.pem();
    let build_in = |dir: &Path| {
        let mut notes = Notes::default();
        let report = build(&whole_project(dir, &authority), &mut notes).unwrap();
        assert!(notes.0.is_empty(), "not as the demo is: {:?}", notes.0);
        report
    };
    let first = build_in(one.path());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let deeper = two.path().join("some/other/place");
    fs::create_dir_all(&deeper).unwrap();
    let second = build_in(&deeper);
    let root = fs::read(cut(&first.output, "root-a", &one.path().join("root"))).unwrap();
    let baked = |text: &str| {
        root.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(baked("<p>hello"), "the container image");
    let line = authority.lines().nth(1).unwrap();
    assert!(baked(line), "the authority");
    assert_eq!(first.root_hash, second.root_hash);
    let same = Command::new("cmp")
        .args([&first.output, &second.output])
        .status()
        .unwrap();
    assert!(same.success(), "the disks differ");
    let bundle = |report: &BuildReport| fs::read(report.bundle.as_ref().unwrap()).unwrap();
    assert!(bundle(&first) == bundle(&second), "the bundles differ");
    assert!(first.bundle.unwrap().ends_with("test-1.0.0.orlop"));
    let words = fs::read_to_string(first.direct.join("cmdline")).unwrap();
    assert!(words.contains(" no_timer_check"), "{words}");
    for name in ["vmlinuz", "initrd.img", "cmdline"] {
        let read = |dir: &Path| fs::read(dir.join(name)).unwrap();
        assert!(read(&first.direct) == read(&second.direct), "{name}");
    }
}

#[test]
fn every_part_passes_the_tool_of_its_format() {
    let dir = tempfile::tempdir().unwrap();
    let request = project(dir.path(), HOST);
    let mut notes = Notes::default();
    let report = build(&request, &mut notes).unwrap();
    assert!(
        notes.0.iter().any(|note| note.contains("localhost/web:1")),
        "{:?}",
        notes.0
    );
    let disk = &request.output;
    assert!(run("sfdisk", &["--verify", disk.to_str().unwrap()]).contains("No errors"));
    let part = |name: &str| cut(disk, name, &dir.path().join(name));
    let (root, hash) = (part("root-a"), part("verity-a"));
    run("veritysetup", &["verify", &root, &hash, &report.root_hash]);
    let tree = dir.path().join("tree");
    let extract = format!("--extract={}", tree.display());
    run("fsck.erofs", &["--no-preserve", &extract, &root]);
    let hostname = fs::read_to_string(tree.join("etc/hostname")).unwrap();
    assert_eq!(hostname, "test\n");
    run("fsck.vfat", &["-n", &part("esp")]);
    run("e2fsck", &["-f", "-n", &part("state")]);

    let found = inspect(disk).unwrap();
    assert!(found.is_good());
    assert!(matches!(found.slots[1].1, SlotContent::Empty));
    let entry = &found.entries[0];
    assert_eq!(entry.name, "orlop_1_1.0.0.efi");
    let names: Vec<&str> = entry
        .sections
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        names.ends_with(&[".osrel", ".cmdline", ".initrd", ".linux"]),
        "{names:?}"
    );

    let image = dir.path().join("entry.efi");
    let esp = dir.path().join("esp").display().to_string();
    run(
        "mcopy",
        &[
            "-i",
            &esp,
            "::/EFI/Linux/orlop_1_1.0.0.efi",
            image.to_str().unwrap(),
        ],
    );
    let headers = run("objdump", &["-h", image.to_str().unwrap()]);
    assert!(
        headers.contains(".linux") && headers.contains(".sdmagic"),
        "{headers}"
    );
}

#[test]
fn a_flipped_bit_in_the_root_is_found() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let request = project(dir.path(), HOST);
    build(&request, &mut Notes::default()).unwrap();
    let found = inspect(&request.output).unwrap();
    let root = found
        .partitions
        .iter()
        .find(|(name, _)| name == "root-a")
        .unwrap()
        .1;
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&request.output)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, root.start + 9000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], root.start + 9000)
        .unwrap();
    let found = inspect(&request.output).unwrap();
    assert!(!found.is_good());
    assert!(matches!(&found.slots[0].1, SlotContent::Bad(why) if why.contains("differs")));
}

#[test]
fn complaints_name_the_line_of_the_host_file() {
    let cases = [
        (
            "[kernel]\nmodules = [\n  \"overlay\",\n  \"overlai\",\n]",
            "host.toml:15:3",
            "overlai",
        ),
        (
            "[kernel]\npackage = \"linux-image-nonsense\"",
            "host.toml:13:11",
            "linux-image-nonsense",
        ),
        (
            "[api]\nclient-ca = \"gone.crt\"",
            "host.toml:13:13",
            "gone.crt",
        ),
        (
            "[api]\nclient-ca = \"host.toml\"",
            "host.toml:13:13",
            "expected one or more whole PEM certificates",
        ),
    ];
    for (text, place, word) in cases {
        let error = failure(&format!("{HOST}\n{text}\n"));
        assert!(error.contains(place) && error.contains(word), "{error}");
    }
    let error = failure(&HOST.replace("\"units/web.toml\"", "\"units/none.toml\""));
    assert!(
        error.contains("host.toml:10:10") && error.contains("none.toml"),
        "{error}"
    );
    let error = failure(&HOST.replace("[disk]", "[disk]\nsize = \"256M\""));
    assert!(
        error.contains("host.toml:6:8") && error.contains("MiB"),
        "{error}"
    );
    let error = failure(&HOST.replace("160M", "128M"));
    assert!(
        error.contains("host.toml:7:9") && error.contains("from 160M"),
        "{error}"
    );
    let error = failure(&HOST.replace(
        "units = ",
        "containers = [{ source = \"gone.tar\" }]\nunits = ",
    ));
    assert!(
        error.contains("host.toml:10:") && error.contains("gone.tar"),
        "{error}"
    );
}

#[test]
fn the_firmware_starts_our_loader_which_finds_systemd_boot() {
    let dir = tempfile::tempdir().unwrap();
    let request = project(dir.path(), HOST);
    build(&request, &mut Notes::default()).unwrap();
    let esp = cut(&request.output, "esp", &dir.path().join("esp"));
    let file = |path: &str| {
        let copy = dir.path().join("copy.efi");
        run("mcopy", &["-o", "-i", &esp, path, copy.to_str().unwrap()]);
        fs::read(copy).unwrap()
    };
    let magic = b"#### LoaderInfo: systemd-boot ";
    let is_systemd_boot = |bytes: &[u8]| bytes.windows(magic.len()).any(|part| part == magic);
    let first = file("::/EFI/BOOT/BOOTX64.EFI");
    assert!(first.starts_with(b"MZ") && !is_systemd_boot(&first));
    assert!(is_systemd_boot(&file("::/EFI/systemd/systemd-bootx64.efi")));

    for (name, wanted) in [
        ("/bin/busybox", "as a program for the firmware"),
        ("/bin/sh", "dynamically linked"),
        ("", "cargo build --release -p orlop-loader"),
    ] {
        let loader = dir.path().join("bin/orlop-loader");
        match name {
            "" => fs::remove_file(loader).unwrap(),
            other => drop(fs::copy(other, loader).unwrap()),
        }
        let error = format!("{:#}", build(&request, &mut Notes::default()).unwrap_err());
        assert!(
            error.contains(wanted) && error.contains("/bin/orlop-loader"),
            "{error}"
        );
    }
}

#[test]
fn a_dynamic_program_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let request = project(dir.path(), HOST);
    fs::copy("/bin/sh", dir.path().join("bin/orlop-manager")).unwrap();
    let error = format!("{:#}", build(&request, &mut Notes::default()).unwrap_err());
    assert!(
        error.contains("orlop-manager") && error.contains("dynamically linked"),
        "{error}"
    );
}

#[test]
fn debians_generic_kernel_builds_too() {
    let dir = tempfile::tempdir().unwrap();
    let host =
        format!("{HOST}\n[kernel]\npackage = \"linux-image-amd64\"\nmodules = [\"i6300esb\"]\n");
    let request = project(dir.path(), &host);
    let report = build(&request, &mut Notes::default()).unwrap();
    assert!(inspect(&request.output).unwrap().is_good());
    let words = fs::read_to_string(report.direct.join("cmdline")).unwrap();
    assert!(
        !words.contains("no_timer_check"),
        "on real hardware: {words}"
    );
}
