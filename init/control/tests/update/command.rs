//! The `orlop` command: what it prints, and how it exits.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use orlop_control::types::{
    FailedUnit, FailedUpdate, TrialStatus, UpdatePhase, UpdateStatus, VersionState,
};

use crate::UNDER_WAY;
use crate::bundle::Bundle;
use crate::host::{FakeHost, Sight, installed, sight};

fn spawn(host: &FakeHost, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_orlop"))
        .args(["--host", &host.address()])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code, standard output and standard error.
fn orlop(host: &FakeHost, args: &[&str]) -> (i32, String, String) {
    told(spawn(host, args).wait_with_output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn check(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}

/// Version 2.0 on trial.
fn trial() -> Sight {
    let (mut host, mut versions) = sight("2.0", 2, "second").unwrap();
    host.trial = Some(TrialStatus {
        deadline_ms: 1,
        waits_for: vec!["web: not healthy yet".to_owned()],
    });
    versions[0].state = VersionState::Trial;
    Some((host, versions))
}

/// Version 1.0 again, because of 2.0.
fn gone_back() -> Sight {
    let (mut host, versions) = sight("1.0", 1, "third").unwrap();
    host.failed_update = Some(FailedUpdate {
        version: "2.0".to_owned(),
        serial: 2,
        reason: "web is not healthy: connection refused".to_owned(),
        units: vec![FailedUnit {
            unit: "web".to_owned(),
            reason: String::new(),
            log: vec!["no database".to_owned()],
        }],
        ..FailedUpdate::default()
    });
    Some((host, versions))
}

#[test]
fn an_update_ends_with_the_version_kept() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    let before = sight("1.0", 1, "first");
    let kept = sight("2.0", 2, "second");
    host.state().sights = [before.clone(), before, None, trial(), kept].into();
    let (code, out, err) = orlop(&host, &["update", bundle.path.to_str().unwrap()]);
    check(
        &err,
        &[
            "orlop: 2.0: looking for what is there\n",
            "orlop: 2.0: receiving 4.0 MiB in ",
            "orlop: 2.0: verifying\n",
            "orlop: 2.0: installing\n",
            "orlop: 2.0: the host is away\n",
            "orlop: 2.0: on trial, waits for web: not healthy yet\n",
        ],
    );
    assert_eq!(out, "2.0, installation 2 in slot b is kept\n");
    assert_eq!(code, 0);
}

#[test]
fn an_update_that_the_host_gives_up_says_why() {
    let host = FakeHost::start();
    let before = sight("1.0", 1, "first");
    host.state().sights = [before.clone(), before, trial(), None, gone_back()].into();
    let (code, out, err) = orlop(&host, &["update", "http://192.0.2.1/demo"]);
    check(
        &err,
        &[
            "orlop: 2.0: fetching ",
            "Last lines of web on 2.0:\n  no database\n",
            "orlop: 2.0 was not kept: web is not healthy: connection refused; 1.0 runs\n",
            "  help: `orlop versions`",
        ],
    );
    assert_eq!((code, out.as_str()), (1, ""));
}

#[test]
fn a_host_that_is_left_running_is_told_of() {
    let host = FakeHost::start();
    let (code, out, _) = orlop(&host, &["update", "--no-reboot"]);
    let said = "2.0 is installed; it starts at the next boot, on trial: `orlop reboot`\n";
    assert_eq!((code, out.as_str()), (0, said));
    let (code, out, _) = orlop(&host, &["update", "--no-wait", "-o", "json"]);
    let update: UpdateStatus = serde_json::from_str(&out).unwrap();
    assert_eq!((code, update.phase), (0, UpdatePhase::Rebooting));
}

#[test]
fn a_dry_run_and_a_status_are_tables_or_json() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    let path = bundle.path.to_str().unwrap();
    let (code, out, err) = orlop(&host, &["update", "--dry-run", path]);
    check(
        &out,
        &[
            "Version:  2.0, from 1.0\n",
            "Image:    8.0 MiB in ",
            "50.0 % of the image\n",
        ],
    );
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, out, _) = orlop(&host, &["update", "--dry-run", path, "-o", "json"]);
    let dry: UpdateStatus = serde_json::from_str(&out).unwrap();
    let (_, out, _) = orlop(&host, &["update", "--status", "-o", "json"]);
    let status: UpdateStatus = serde_json::from_str(&out).unwrap();
    assert_eq!(dry, status);
    let (_, out, _) = orlop(&host, &["update", "--status"]);
    check(
        &out,
        &["Update:   idle\n", "Source:   upload\n", "Channel:  none\n"],
    );
    let (code, out, _) = orlop(&host, &["update", "--cancel"]);
    assert_eq!((code, out.as_str()), (0, "the update to 2.0 is given up\n"));
    let (code, _, err) = orlop(&host, &["update", "ftp://192.0.2.1/demo"]);
    check(&err, &["expected a file, or http:// or https://"]);
    assert_eq!(code, 2);
}

#[test]
fn ctrl_c_leaves_the_update_and_the_same_command_goes_on() {
    let (bundle, host) = (Bundle::new(), FakeHost::start());
    host.state().pause = Duration::from_millis(200);
    let args = ["update", "--no-reboot", bundle.path.to_str().unwrap()];
    let child = spawn(&host, &args);
    while host.state().have.is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, _, err) = told(child.wait_with_output().unwrap());
    check(
        &err,
        &[
            "orlop: interrupted\n",
            "the same command goes on from there",
        ],
    );
    assert_eq!(code, 130);
    assert_eq!(host.state().update.phase, UpdatePhase::Receiving);
    let (code, out, _) = orlop(&host, &args);
    check(&out, &["2.0 is installed"]);
    assert_eq!(code, 0);
    let twice = bundle.twice(&host.state().arrived);
    assert!(twice <= UNDER_WAY, "{twice} bytes twice");
}

#[test]
fn a_rollback_ends_with_the_version_before() {
    let host = FakeHost::start();
    let before = sight("2.0", 2, "first");
    let back = sight("1.0", 1, "second");
    host.state().sights = [before.clone(), before, None, back].into();
    let (code, out, err) = orlop(&host, &["rollback"]);
    check(
        &out,
        &[
            "goes back to 1.0, installation 1 in slot b\n",
            "1.0, installation 1 in slot b runs again\n",
        ],
    );
    check(&err, &["orlop: 1.0: the host is away\n"]);
    assert_eq!(code, 0);
    let (_, out, _) = orlop(&host, &["rollback", "--no-wait", "-o", "json"]);
    let target = installed("1.0", 1, VersionState::Good);
    assert_eq!(serde_json::from_str(&out).ok(), Some(target));
}
