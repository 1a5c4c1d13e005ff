//! What is made of how a host is, by tables.

use super::*;
use crate::types::{FailedUnit, FailedUpdate, TrialStatus};

fn host(version: &str, serial: u64, boot: &str) -> HostStatus {
    HostStatus {
        version: version.to_owned(),
        serial,
        boot_id: boot.to_owned(),
        ..HostStatus::default()
    }
}

fn on_trial(waits_for: &[&str]) -> HostStatus {
    HostStatus {
        trial: Some(TrialStatus {
            deadline_ms: 1,
            waits_for: waits_for.iter().map(|&it| it.to_owned()).collect(),
        }),
        ..host("2.0", 2, "second")
    }
}

fn failed(mut host: HostStatus, version: &str, serial: u64) -> HostStatus {
    host.failed_update = Some(FailedUpdate {
        version: version.to_owned(),
        serial,
        reason: "web is ill".to_owned(),
        units: vec![FailedUnit {
            unit: "web".to_owned(),
            reason: String::new(),
            log: vec!["no database".to_owned()],
        }],
        ..FailedUpdate::default()
    });
    host
}

fn installed(serial: u64, state: VersionState) -> InstalledVersion {
    InstalledVersion {
        serial,
        version: format!("{serial}.0"),
        slot: Some("b".to_owned()),
        running: false,
        state,
        tries_left: None,
        file: String::new(),
    }
}

fn running(serial: u64, state: VersionState) -> InstalledVersion {
    InstalledVersion {
        running: true,
        ..installed(serial, state)
    }
}

/// A verdict and its words.
fn told(goal: &Goal, host: &HostStatus, versions: Option<&[InstalledVersion]>) -> String {
    match judge(goal, host, versions) {
        Verdict::Wait(reason) => format!("wait: {reason}"),
        Verdict::Kept(version) => format!("kept: {}", named(&version)),
        Verdict::Astray(reason) => format!("astray: {reason}"),
        Verdict::Failed { reason, details } => format!("failed: {reason} {details:?}"),
    }
}

#[test]
fn a_version_that_came_up_is_kept_or_fails_its_trial() {
    use VersionState::{Broken, Failed, Good, Trial};
    let new = || host("2.0", 2, "second");
    let known = |version| Some(vec![version]);
    let back = Some(vec![running(2, Failed), installed(1, Good)]);
    let nowhere = Some(vec![running(2, Failed), installed(1, Failed)]);
    let cases = [
        (
            on_trial(&["web: ill", "db"]),
            None,
            "wait: on trial, waits for web: ill; db",
        ),
        (
            on_trial(&[]),
            known(running(2, Trial)),
            "wait: on trial; all is well",
        ),
        (new(), None, "wait: runs; whether it is on trial"),
        (new(), Some(vec![]), "wait: runs; whether it is on trial"),
        (
            new(),
            known(running(2, Trial)),
            "wait: on trial, which is about to begin",
        ),
        (
            new(),
            known(running(2, Broken)),
            "wait: runs; its boot entry",
        ),
        (
            new(),
            known(running(2, Good)),
            "kept: 2.0, installation 2 in slot b",
        ),
        (
            new(),
            back.clone(),
            "wait: failed its trial: for a reason that is not known yet",
        ),
        (
            failed(new(), "2.0", 2),
            back,
            "wait: failed its trial: web is ill; the host goes back to 1.0",
        ),
        (
            failed(new(), "2.0", 2),
            nowhere,
            "failed: web is ill; there is no other version",
        ),
    ];
    let goal = Goal::update("2.0".to_owned(), host("1.0", 1, "first"));
    for (host, versions, words) in cases {
        let told = told(&goal, &host, versions.as_deref());
        assert!(told.starts_with(words), "expected {words:?}: {told}");
    }
}

#[test]
fn another_version_that_runs_after_the_reboot_says_why() {
    let goal = Goal::update("2.0".to_owned(), host("1.0", 1, "first"));
    let old = host("1.0", 1, "second");
    let said = "failed: web is ill; 1.0 runs [\"Last lines of web on 2.0:\\n  no database";
    for (host, words) in [
        (host("1.0", 1, "first"), "wait: the host is about to reboot"),
        (failed(old.clone(), "2.0", 2), said),
        (
            failed(old.clone(), "3.0", 2),
            "astray: the host came up with 1.0",
        ),
        // Given up long before.
        (
            failed(host("3.0", 3, "second"), "2.0", 2),
            "astray: the host came up with 3.0",
        ),
        (old, "astray: the host came up with 1.0, installation 1"),
    ] {
        let told = told(&goal, &host, None);
        assert!(told.starts_with(words), "expected {words:?}: {told}");
    }
}

#[test]
fn the_same_version_again_is_another_installation() {
    let goal = Goal::update("2.0".to_owned(), host("2.0", 2, "first"));
    let good = [running(2, VersionState::Good)];
    for (host, words) in [
        (host("2.0", 2, "first"), "wait: the host is about to reboot"),
        (host("2.0", 2, "second"), "astray"),
        (host("2.0", 3, "second"), "wait: runs"),
    ] {
        let told = told(&goal, &host, Some(&good));
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn what_failed_before_is_not_told_again() {
    let before = failed(host("1.0", 1, "first"), "2.0", 2);
    let goal = Goal::update("2.0".to_owned(), before.clone());
    let mut now = HostStatus {
        boot_id: "second".to_owned(),
        ..before
    };
    assert!(told(&goal, &now, None).starts_with("astray"));
    now = failed(now, "2.0", 3);
    assert!(told(&goal, &now, None).starts_with("failed"));
}

#[test]
fn a_host_that_goes_back_runs_the_installation_it_named() {
    let goal = Goal::rollback(&installed(1, VersionState::Good), host("2.0", 2, "first"));
    let good = [running(1, VersionState::Good)];
    for (host, words) in [
        (host("2.0", 2, "first"), "wait: the host is about to reboot"),
        (host("1.0", 1, "second"), "kept: 1.0, installation 1"),
        (
            host("2.0", 2, "second"),
            "astray: the host came up with 2.0",
        ),
    ] {
        let told = told(&goal, &host, Some(&good));
        assert!(told.contains(words), "{told}");
    }
}
