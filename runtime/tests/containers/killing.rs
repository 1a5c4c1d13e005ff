//! All processes of a container and nobody else's, without a pid namespace or a cgroup too.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::breakouts::without_user_namespace;
use crate::support::{Bench, bench, refused, skipped, started, text};

/// In the pid namespace of the host, with no proc of its own.
fn without_pid_namespace(bench: &mut Bench) {
    without_user_namespace(bench);
    let kinds = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "pid");
}

#[test]
fn a_stopped_container_is_deleted_with_those_it_left() {
    let Some(mut bench) = bench("left") else {
        return;
    };
    let id = bench.id("left");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    without_pid_namespace(&mut bench);
    bench.args(&["sh", "-c", "sleep 997 & exit 0"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    bench.wait_for(&id, "stopped");
    let left = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    assert_eq!(left.lines().count(), 1);
    let began = Instant::now();
    bench.quiet(&["delete", &id]);
    assert!(began.elapsed() < Duration::from_secs(8));
    let gone = format!("/proc/{}/cmdline", left.trim());
    assert_eq!(std::fs::read_to_string(gone).unwrap_or_default(), "");
    bench.assert_nothing_left();
}

/// Two of one configuration have their cgroup at one place, one after the other.
#[test]
fn the_next_in_its_cgroup_lives_on() {
    let Some(mut bench) = bench("next") else {
        return;
    };
    let (first, second) = (bench.id("first"), bench.id("second"));
    if bench.cgroup(&first).is_none() {
        return skipped("this machine has no cgroup v2");
    }
    bench.config["linux"]["cgroupsPath"] = json!(bench.id("cgroup"));
    for deletion in [&["delete"][..], &["delete", "--force"]] {
        bench.args(&["true"]);
        bench.quiet(&["create", &first]);
        bench.quiet(&["start", &first]);
        bench.wait_for(&first, "stopped");
        started(&mut bench, &second);
        bench.quiet(&["kill", "--all", &first, "KILL"]);
        bench.quiet(&[deletion, &[&*first]].concat());
        assert_eq!(bench.status(&second), "running");
        bench.quiet(&["exec", &second, "true"]);
        bench.quiet(&["delete", "--force", &second]);
        bench.assert_nothing_left();
    }
}

#[test]
fn who_cannot_be_found_is_not_passed_over() {
    let Some(mut bench) = bench("nocgroup") else {
        return;
    };
    let id = bench.id("nocgroup");
    let create = |bench: &Bench| {
        let args = ["--cgroup-manager=disabled", "create", &id];
        let status = bench
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        bench.quiet(&["start", &id]);
    };
    bench.args(&["sleep", "1000"]);
    create(&bench);
    refused(&bench, &["kill", "--all", &id, "TERM"], "no cgroup");
    bench.quiet(&["kill", "--all", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    refused(
        &bench,
        &["kill", "--all", &id, "KILL"],
        "container not running",
    );
    bench.quiet(&["delete", &id]);
    without_pid_namespace(&mut bench);
    create(&bench);
    for signal in ["TERM", "KILL"] {
        let (status, said) = text(&bench.call(&["kill", "--all", &id, signal]));
        assert!(status == 1 && said.contains("no cgroup"), "{said}");
        assert_eq!(bench.status(&id), "running", "{signal}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
