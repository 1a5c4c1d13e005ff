//! CVE-2021-30465, CVE-2024-45310 and their kin: whoever shares a volume with the container
//! that is being started, or has a hand in its root file system, swaps directories for links
//! meanwhile. Nothing outside is made, changed or mounted, whatever the moment.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, RenameFlags, renameat_with};
use serde_json::json;

use crate::support::{BASE, Bench, bench};

use super::links::tree;
use super::without_user_namespace;

/// How long one race is run.
const ROUND: Duration = Duration::from_secs(2);

/// How long it is run where the machine is so slow that no container has begun by then.
const LONGEST: Duration = Duration::from_secs(120);

/// How long the names stay as they are between two swaps: far less than a container takes to
/// begin, and twice as long for each that was refused since one began. So some begin wherever
/// this runs.
fn pause(refused: u32) -> Duration {
    Duration::from_micros(100) * (1 << refused.min(16))
}

/// Swaps the two names for as long as `during` takes, which counts those that were refused.
fn swapping(dir: &Path, pairs: &[(&str, &str)], during: impl FnOnce(&AtomicU32)) {
    let (stop, refused) = (AtomicBool::new(false), AtomicU32::new(0));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    renameat_with(&dir, *one, &dir, *other, RenameFlags::EXCHANGE).unwrap();
                }
                let swapped = Instant::now();
                while swapped.elapsed() < pause(refused.load(Ordering::Relaxed))
                    && !stop.load(Ordering::Relaxed)
                {
                    std::thread::sleep(pause(0));
                }
            }
        });
        // The thread ends with the test, failed or not.
        let raced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| during(&refused)));
        stop.store(true, Ordering::Relaxed);
        raced.unwrap();
    });
}

/// Runs containers for a while: each begins, as `check` says of its output, or is refused in
/// one line. Some have to begin: where all are refused, nothing was raced.
fn race(bench: &Bench, refused: &AtomicU32, check: impl Fn(&str)) {
    let (began, mut good) = (Instant::now(), 0);
    while began.elapsed() < ROUND || (good == 0 && began.elapsed() < LONGEST) {
        let (status, said) = bench.run();
        if said.starts_with("orlop-runtime: ") {
            assert_eq!((status, said.lines().count()), (1, 1), "{said}");
            refused.fetch_add(1, Ordering::Relaxed);
        } else {
            check(&said);
            refused.store(0, Ordering::Relaxed);
            good += 1;
        }
        bench.assert_nothing_left();
    }
    assert!(good > 0, "no container began");
}

/// Calls `once` with a container that has a user namespace, and with one that has none; then
/// nothing that is the host's has changed.
fn with_and_without_user_namespace(bench: &mut Bench, mut once: impl FnMut(&Bench)) {
    let base = bench.config.clone();
    let before = tree(&bench.path("victim"));
    for user in [true, false] {
        bench.config = base.clone();
        if !user {
            without_user_namespace(bench);
        }
        once(bench);
        assert_eq!(tree(&bench.path("victim")), before);
    }
    bench.config = base;
}

/// Runs containers while names in `dir` are swapped.
fn race_swapped(bench: &Bench, dir: &Path, pairs: &[(&str, &str)], check: impl Fn(&str)) {
    swapping(dir, pairs, |refused| race(bench, refused, check));
}

/// Makes it the container's root's, as the whole root file system is.
fn give_away(at: &Path) {
    let owner = format!("{BASE}:{BASE}");
    let given = Command::new("chown").args(["-hR", &owner]).arg(at).status();
    assert!(given.unwrap().success());
}

/// A victim outside of the root, and a link that leads there from `dir`.
fn trap(bench: &Bench, dir: &Path, names: &[&str]) {
    let victim = bench.path("victim");
    std::fs::create_dir_all(victim.join("deep")).unwrap();
    std::fs::write(victim.join("file"), "the host's").unwrap();
    for (index, name) in names.iter().enumerate() {
        let up = "../".repeat(12);
        let target = if index % 2 == 0 {
            victim.display().to_string()
        } else {
            format!("{up}{}", victim.display())
        };
        symlink(target, dir.join(name)).unwrap();
    }
}

/// The volume's names are swapped, under mounts that are made in it.
#[test]
fn a_volume_that_another_changes_leads_nowhere() {
    let Some(mut bench) = bench("volume") else {
        return;
    };
    let volume = bench.path("volume");
    std::fs::create_dir_all(volume.join("a")).unwrap();
    std::fs::create_dir_all(volume.join("b")).unwrap();
    let source = bench.path("source");
    std::fs::write(&source, "mounted").unwrap();
    trap(&bench, &volume, &["evil", "worse"]);
    give_away(&volume);
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    for mount in [
        json!({"destination": "/vol", "source": volume, "options": ["rbind"]}),
        json!({"destination": "/vol/a/x/y", "type": "tmpfs", "source": "guard",
            "options": ["ro", "nosuid"]}),
        json!({"destination": "/vol/b", "type": "tmpfs", "source": "guard", "options": ["ro"]}),
        json!({"destination": "/vol/a/file", "source": source,
            "options": ["bind", "ro"]}),
    ] {
        mounts.push(mount);
    }
    bench.config["process"]["cwd"] = json!("/vol/a/deep/work");
    bench.config["linux"]["maskedPaths"] = json!(["/vol/a/deep", "/vol/a/file", "/proc/keys"]);
    bench.config["linux"]["readonlyPaths"] = json!(["/vol/a", "/proc/sys"]);
    bench.args(&["grep", "^guard", "/proc/mounts"]);
    with_and_without_user_namespace(&mut bench, |bench| {
        race_swapped(bench, &volume, &[("a", "evil"), ("b", "worse")], |said| {
            // What was to be read-only is so, wherever the name leads by now.
            for line in said.lines() {
                assert!(line.contains(" tmpfs ro,"), "{said}");
            }
        });
    });
    let kept = std::fs::read_to_string(bench.path("source")).unwrap();
    assert_eq!(kept, "mounted");
}

/// The root's own names are swapped, /proc, /sys and /dev among them.
#[test]
fn a_root_that_another_changes_leads_nowhere() {
    let Some(mut bench) = bench("root") else {
        return;
    };
    let root = bench.rootfs();
    std::fs::create_dir(root.join("data")).unwrap();
    trap(&bench, &root, &["e", "p", "s", "d"]);
    give_away(&root);
    let source = bench.path("source");
    std::fs::write(&source, "mounted").unwrap();
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/data/deep/x", "type": "tmpfs"}));
    mounts.push(json!({"destination": "/data/file", "source": source,
        "options": ["bind"]}));
    bench.config["process"]["cwd"] = json!("/data/work");
    bench.config["process"]["terminal"] = json!(true);
    bench.args(&["sh", "-c", "echo began"]);
    let pairs = [("data", "e"), ("proc", "p"), ("sys", "s"), ("dev", "d")];
    for pairs in [&pairs[..1], &pairs] {
        with_and_without_user_namespace(&mut bench, |bench| {
            race_swapped(bench, &root, pairs, |said| assert_eq!(said, "began\r\n"));
        });
    }
}
