//! How `exec` and its process begin and end together.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::bench;

/// Waits, long enough for any machine.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_exec_takes_its_process_along() {
    let Some(mut bench) = bench("killed") else {
        return;
    };
    let id = bench.id("killed");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let pid_file = bench.path("bundle/pid");
    for user in ["0:0", "5:6"] {
        let args = ["exec", "--pid-file", "pid", "--user", user, &id];
        let mut exec = bench
            .command(&[&args[..], &["sleep", "999"]].concat())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("it runs", || pid_file.exists());
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        // Empty for what has ended, even before that is asked for.
        let command =
            || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert_eq!(command(), "sleep\0999\0", "the file is there once it runs");
        exec.kill().unwrap();
        exec.wait().unwrap();
        until("it is gone", || command().is_empty());
        std::fs::remove_file(&pid_file).unwrap();
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn what_did_not_execute_leaves_no_pid_file() {
    let Some(mut bench) = bench("nopid") else {
        return;
    };
    let id = bench.id("nopid");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let said = bench.call(&["exec", "--pid-file", "pid", &id, "/no/such"]);
    assert_eq!(said.status.code(), Some(127));
    assert!(!bench.path("bundle/pid").exists());
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
