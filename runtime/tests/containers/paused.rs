//! Containers whose processes stand still, and what may be done to them meanwhile.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Bench, bench, refused, skipped, text};

/// A running container that makes a file longer and longer; `None` without cgroup v2.
fn running(bench: &mut Bench, id: &str) -> Option<std::path::PathBuf> {
    let Some(cgroup) = bench.cgroup(id) else {
        skipped("this machine has no cgroup v2");
        return None;
    };
    bench.args(&[
        "sh",
        "-c",
        "while :; do echo >> /tmp/lines; sleep 0.01; done",
    ]);
    bench.quiet(&["create", id]);
    bench.quiet(&["start", id]);
    Some(cgroup)
}

fn length(bench: &Bench) -> u64 {
    std::fs::metadata(bench.rootfs().join("tmp/lines")).map_or(0, |file| file.len())
}

fn grows(bench: &Bench) -> bool {
    let (before, began) = (length(bench), Instant::now());
    while began.elapsed() < Duration::from_secs(10) {
        if length(bench) > before {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn is_frozen(cgroup: &Path) -> bool {
    std::fs::read_to_string(cgroup.join("cgroup.events"))
        .unwrap()
        .contains("frozen 1")
}

#[test]
fn pause_stops_and_resume_continues() {
    let Some(mut bench) = bench("pause") else {
        return;
    };
    let id = bench.id("pause");
    let Some(cgroup) = running(&mut bench, &id) else {
        return;
    };
    assert!(grows(&bench));
    refused(&bench, &["resume", &id], "container not paused");
    bench.quiet(&["pause", &id]);
    assert!(is_frozen(&cgroup));
    let before = length(&bench);
    assert_eq!(bench.status(&id), "paused");
    let (_, list) = text(&bench.call(&["list"]));
    assert!(list.contains("paused"), "{list}");
    refused(&bench, &["pause", &id], "paused already");
    refused(&bench, &["start", &id], "resume it first");
    refused(&bench, &["delete", &id], "is paused");
    refused(&bench, &["exec", &id, "true"], "--ignore-paused");
    let mut waiting = bench
        .command(&["exec", "--ignore-paused", &id, "sh", "-c", "exit 6"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none());
    assert_eq!(length(&bench), before, "a paused container does nothing");
    bench.quiet(&["resume", &id]);
    assert_eq!(waiting.wait().unwrap().code(), Some(6));
    assert_eq!(bench.status(&id), "running");
    assert!(!is_frozen(&cgroup) && grows(&bench));
    bench.quiet(&["delete", "--force", &id]);
    refused(&bench, &["pause", &id], "does not exist");
    bench.assert_nothing_left();
}

#[test]
fn a_paused_container_can_be_killed() {
    let Some(mut bench) = bench("killpaused") else {
        return;
    };
    let id = bench.id("kill");
    for all in [false, true] {
        if running(&mut bench, &id).is_none() {
            return;
        }
        bench.quiet(&["pause", &id]);
        // Kept for when it is resumed: nothing waits for that.
        bench.quiet(&["kill", &id, "TERM"]);
        assert_eq!(bench.status(&id), "paused");
        let kill = ["kill", &id, "KILL", "--all"];
        bench.quiet(if all { &kill } else { &kill[..3] });
        bench.wait_for(&id, "stopped");
        refused(&bench, &["resume", &id], "container not running");
        refused(&bench, &["pause", &id], "container not running");
        refused(&bench, &["kill", &id, "TERM"], "container not running");
        bench.quiet(&["delete", &id]);
        bench.assert_nothing_left();
    }
}

#[test]
fn a_paused_container_can_be_deleted() {
    let Some(mut bench) = bench("deletepaused") else {
        return;
    };
    let id = bench.id("delete");
    if running(&mut bench, &id).is_none() {
        return;
    }
    bench.quiet(&["pause", &id]);
    let began = Instant::now();
    bench.quiet(&["delete", "--force", &id]);
    assert!(began.elapsed() < Duration::from_secs(5));
    bench.assert_nothing_left();
    // Before it is started, too.
    bench.quiet(&["create", &id]);
    bench.quiet(&["pause", &id]);
    assert_eq!(bench.status(&id), "paused");
    bench.quiet(&["resume", &id]);
    assert_eq!(bench.status(&id), "created");
    bench.quiet(&["pause", &id]);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
