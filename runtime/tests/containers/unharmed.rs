//! A container that runs is not harmed by what fails beside it, and one that is frozen makes
//! nobody wait.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Bench, bench, rounds, skipped};

fn running(bench: &mut Bench, id: &str) {
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", id]);
    bench.quiet(&["start", id]);
}

/// The processes in the container. One that has ended is none, if its new parent has not
/// asked for its status yet.
fn inside(container: u64) -> usize {
    let proc = std::fs::read_dir(format!("/proc/{container}/root/proc")).unwrap();
    proc.flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let process = name.to_str().unwrap().parse::<u32>().is_ok();
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            process
                && stat
                    .rsplit_once(')')
                    .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
        })
        .count()
}

fn alone(container: u64) {
    let began = Instant::now();
    while inside(container) > 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "not alone");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writes process JSONs that cannot be, one for each of several steps.
fn write_processes(bench: &Bench) {
    let mut process = bench.config["process"].clone();
    process["args"] = json!(["true"]);
    let file = |name: &str, key: &str, value| {
        let mut process = process.clone();
        process[key] = value;
        let at = bench.path("bundle").join(name);
        std::fs::write(at, process.to_string()).unwrap();
    };
    file("user", "user", json!({"uid": 70000, "gid": 0}));
    file("score", "oomScoreAdj", json!(5000));
    file(
        "groups",
        "user",
        json!({"uid": 0, "gid": 0, "additionalGids": [70000]}),
    );
    file(
        "limit",
        "rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]),
    );
    file("terminal", "terminal", json!(true));
    std::fs::write(bench.path("bundle/nonsense"), "{").unwrap();
}

#[test]
fn by_an_exec_that_fails_at_any_step() {
    let Some(mut bench) = bench("execs") else {
        return;
    };
    let id = bench.id("execs");
    running(&mut bench, &id);
    let container = bench.pid(&id);
    write_processes(&bench);
    for (args, expected) in [
        (&["--cwd", "/no/such", &id, "true"][..], "no such directory"),
        (&["--user", "70000", &id, "true"], "become user 70000"),
        (&["--process", "user", &id], "become user 70000"),
        (&["--process", "score", &id], "oomScoreAdj"),
        (&["--process", "groups", &id], "additionalGids"),
        (&["--process", "limit", &id], "RLIMIT_NOFILE"),
        (&["--process", "nonsense", &id], "nonsense"),
        (
            &["--detach", "--process", "terminal", &id],
            "--console-socket",
        ),
        (
            &["--console-socket", "none", "--process", "terminal", &id],
            "console socket none",
        ),
        (
            &["--pid-file", "no/such/pid", &id, "sleep", "1000"],
            "no/such/pid",
        ),
        (
            &[
                "--detach",
                "--pid-file",
                "no/such/pid",
                &id,
                "sleep",
                "1000",
            ],
            "no/such/pid",
        ),
        (&[&id], "no command"),
        (&[&id, "/no/such"], "/no/such"),
    ] {
        let (status, said) = in_time(&bench, &[&["exec"], args].concat());
        assert!(
            status != 0 && said.contains(expected),
            "{args:?}: {status} {said}"
        );
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert_eq!(bench.status(&id), "running", "{args:?}");
        alone(container);
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// Nothing of an exec stays when it is killed, at whatever moment: one of a hundred, or of fewer
/// where ORLOP_TESTS_ROUNDS says so.
#[test]
fn by_an_exec_that_is_killed() {
    let Some(mut bench) = bench("execkill") else {
        return;
    };
    let id = bench.id("execkill");
    running(&mut bench, &id);
    let container = bench.pid(&id);
    let whole = Instant::now();
    bench.quiet(&["exec", &id, "true"]);
    let whole = whole.elapsed();
    let moments = rounds(100);
    for moment in 0..moments {
        let mut exec = bench
            .command(&["exec", &id, "sleep", "999"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * moment / moments);
        exec.kill().unwrap();
        exec.wait().unwrap();
        alone(container);
    }
    assert_eq!(bench.status(&id), "running");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// The command, ended when it takes longer than anything may here. What it says goes to a file:
/// a pipe would be waited for as long as a process of the container has it.
fn in_time(bench: &Bench, args: &[&str]) -> (i32, String) {
    let command = bench.command(args);
    let path = bench.path("said");
    let said = std::fs::File::create(&path).unwrap();
    let mut timed = Command::new("timeout");
    timed.arg("20").arg(command.get_program());
    timed.args(command.get_args()).stdin(Stdio::null());
    timed.stdout(said.try_clone().unwrap()).stderr(said);
    timed.current_dir(command.get_current_dir().unwrap());
    let status = timed.status().unwrap().code().unwrap_or(-1);
    let said = std::fs::read_to_string(path).unwrap();
    assert_ne!(status, 124, "{args:?} hangs: {said}");
    (status, said)
}

/// Freezes a cgroup until dropped: were a test to fail meanwhile, its end would wait for ever.
struct Frozen<'c>(&'c Path);

impl<'c> Frozen<'c> {
    fn new(cgroup: &'c Path) -> Frozen<'c> {
        std::fs::write(cgroup.join("cgroup.freeze"), "1").unwrap();
        Frozen(cgroup)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.freeze"), "0");
    }
}

#[test]
fn nor_does_a_frozen_one_make_anybody_wait() {
    let Some(mut bench) = bench("freeze") else {
        return;
    };
    let id = bench.id("freeze");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    running(&mut bench, &id);
    let frozen = Frozen::new(&cgroup);
    for (args, expected) in [
        (&["state", &id][..], 0),
        (&["list"], 0),
        (&["exec", &id, "true"], 1),
        (&["exec", "--detach", &id, "true"], 1),
        (&["kill", &id, "USR1"], 0),
        (&["kill", "--all", &id, "USR1"], 0),
        (&["start", &id], 1),
        (&["delete", &id], 1),
    ] {
        let (status, said) = in_time(&bench, args);
        assert_eq!(status, expected, "{args:?}: {said}");
    }
    assert_eq!(bench.status(&id), "paused");
    let deleted = in_time(&bench, &["delete", "--force", &id]);
    assert_eq!(deleted, (0, String::new()));
    drop(frozen);
    bench.assert_nothing_left();

    // Nor one that would be born frozen, for the cgroup above is.
    let above = bench.cgroup(&bench.id("above")).unwrap();
    std::fs::create_dir(&above).unwrap();
    let frozen = Frozen::new(&above);
    bench.config["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", bench.id("above")));
    for verb in ["create", "run"] {
        let (status, said) = in_time(&bench, &[verb, &id]);
        assert!(
            status == 1 && said.contains("frozen"),
            "{verb}: {status} {said}"
        );
        assert!(!above.join(&id).exists(), "{verb}");
    }
    drop(frozen);
    std::fs::remove_dir(&above).unwrap();
    bench.assert_nothing_left();
}
