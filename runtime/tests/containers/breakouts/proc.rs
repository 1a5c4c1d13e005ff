//! What is written to /proc and mounted over it: CVE-2025-31133 and CVE-2025-62161 (the source
//! of masks), CVE-2025-52565 (that of /dev/console), CVE-2025-52881 and CVE-2025-62596 (files
//! that stand where the kernel's should).

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};

use crate::support::{Bench, bench};

fn mount(bench: &mut Bench, value: Value) {
    bench.config["mounts"].as_array_mut().unwrap().push(value);
}

/// Takes the mounts at and below this out of the configuration.
fn without(bench: &mut Bench, at: &str) {
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with(at));
}

/// CVE-2025-31133: the container's /dev is another's too, and its null is a link.
#[test]
fn masks_are_not_made_of_what_the_container_has() {
    let Some(mut bench) = bench("null") else {
        return;
    };
    let volume = bench.path("volume");
    std::fs::create_dir(&volume).unwrap();
    symlink("/proc/sys/kernel/core_pattern", volume.join("null")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", volume.join("zero")).unwrap();
    without(&mut bench, "/dev");
    mount(
        &mut bench,
        json!({"destination": "/dev", "source": volume, "options": ["bind"]}),
    );
    bench.config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/version", "/proc/acpi"]);
    let (status, said) =
        bench.sh("stat -c %F=%t:%T /proc/keys /proc/version; wc -c < /proc/version");
    let null = "character special file=1:3\n";
    assert_eq!((status, said), (0, format!("{null}{null}0\n")));
    bench.assert_nothing_left();
}

/// CVE-2025-52565: the name under which the terminal would be found is another file.
#[test]
fn the_console_is_the_terminal_that_was_made() {
    let Some(mut bench) = bench("console") else {
        return;
    };
    let volume = bench.path("volume");
    std::fs::create_dir_all(volume.join("pts")).unwrap();
    let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
    mknodat(CWD, volume.join("ptmx"), kind, mode, makedev(5, 2)).unwrap();
    std::fs::set_permissions(volume.join("ptmx"), PermissionsExt::from_mode(0o666)).unwrap();
    for number in 0..8 {
        std::fs::write(volume.join(number.to_string()), "a file of the attacker's").unwrap();
    }
    // The kernel looks for the terminals in "pts" beside the node that it is asked through.
    without(&mut bench, "/dev/pts");
    let bind = json!(["bind"]);
    mount(
        &mut bench,
        json!({"destination": "/dev/pts", "source": volume, "options": bind}),
    );
    let options = json!(["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]);
    mount(
        &mut bench,
        json!({"destination": "/dev/pts/pts", "type": "devpts", "options": options}),
    );
    bench.config["process"]["terminal"] = json!(true);
    let (status, said) = bench.sh("stat -c %F=%t /dev/console; stat -c %F=%t /dev/pts/0");
    let expected = "character special file=88\r\nregular file=0\r\n";
    assert_eq!((status, &*said), (0, expected));
    bench.assert_nothing_left();
}

/// What is no terminal multiplexer of the kernel's is asked for no terminal: a file system that a
/// program serves would answer with a descriptor number of its choice.
#[test]
fn a_terminal_comes_from_the_kernel() {
    let Some(mut bench) = bench("multiplexer") else {
        return;
    };
    let volume = bench.path("volume");
    std::fs::create_dir_all(&volume).unwrap();
    without(&mut bench, "/dev/pts");
    mount(
        &mut bench,
        json!({"destination": "/dev/pts", "source": volume, "options": ["bind"]}),
    );
    bench.config["process"]["terminal"] = json!(true);
    let make: [&dyn Fn(&Path); 3] = [
        &|path| std::fs::write(path, "").unwrap(),
        // The kernel's, but another: what it does when it is opened is not ours to find out.
        &|path| {
            let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
            mknodat(CWD, path, kind, mode, makedev(1, 3)).unwrap();
        },
        &|path| {
            let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o666));
            mknodat(CWD, path, kind, mode, 0).unwrap();
        },
    ];
    for make in make {
        let path = volume.join("ptmx");
        make(&path);
        let (status, said) = bench.sh("tty");
        assert_eq!(status, 1, "{said}");
        let wanted = "is not the kernel's: it has to be character device 5:2";
        assert!(said.contains(wanted), "{said}");
        std::fs::remove_file(path).unwrap();
    }
    bench.assert_nothing_left();
}

/// CVE-2025-52881: what is not the kernel's may not be where its files are expected, and what
/// is written there does not go by that name anyway.
#[test]
fn no_decoy_is_written_instead_of_the_kernel() {
    let Some(mut bench) = bench("decoy") else {
        return;
    };
    let volume = bench.path("volume");
    for root in [&volume, &bench.rootfs().join("proc")] {
        std::fs::create_dir_all(root.join("sys/net/ipv4")).unwrap();
        std::fs::write(root.join("sys/net/ipv4/ip_forward"), "decoy\n").unwrap();
    }
    bench.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    without(&mut bench, "/proc");
    let base = bench.config.clone();
    mount(
        &mut bench,
        json!({"destination": "/proc", "source": volume, "options": ["bind"]}),
    );
    let (status, said) = bench.run();
    assert!(
        status == 1 && said.contains("no proc file system"),
        "{status} {said}"
    );

    bench.config = base;
    bench.config["linux"]["readonlyPaths"] = json!([]);
    bench.config["linux"]["maskedPaths"] = json!([]);
    mount(&mut bench, json!({"destination": "/real", "type": "proc"}));
    let file = "sys/net/ipv4/ip_forward";
    let (status, said) = bench.sh(&format!("cat /proc/{file} /real/{file}"));
    assert_eq!((status, &*said), (0, "decoy\n1\n"));
    for root in [&volume, &bench.rootfs().join("proc")] {
        assert_eq!(std::fs::read_to_string(root.join(file)).unwrap(), "decoy\n");
    }
    bench.assert_nothing_left();
}
