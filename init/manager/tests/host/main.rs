//! The manager with real containers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod files;
mod follow;
mod full;
mod killed;
mod made;
mod records;
mod support;

use std::time::Duration;

use orlop_control::client::{ClientError, ExecFrame};
use orlop_control::types::{ExecRequest, HealthState, LogStream, ShutdownMode, UnitState};
use orlop_handover::{FromInit, ToInit};
use support::{IMAGE, TestHost, alone, possible};

pub(crate) fn unit(script: &str, more: &str) -> String {
    format!(
        "[container]\nimage = \"{IMAGE}\"\nnetwork = \"none\"\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''']\n{more}\n"
    )
}

#[test]
fn a_unit_runs_is_logged_ends_and_goes() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let script = "echo out; echo err >&2; busybox id -u; busybox touch /here; \
                  echo again >/dev/stdout; exit 7";
    host.apply(&[("once", &unit(script, "[restart]\npolicy = \"never\""))]);
    let status = host.wait_unit("once", "failed", |unit| unit.state == UnitState::Failed);
    assert_eq!(status.last_exit.unwrap().code, Some(7));
    assert_eq!(status.reason.as_deref(), Some("exited with code 7"));
    assert_eq!(host.exit_codes("once"), [7]);
    let lines = host.logs("once");
    let of = |stream| {
        let lines = lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| line.line.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(LogStream::Stdout), ["out", "0", "again"]);
    assert_eq!(of(LogStream::Stderr), ["err"]);
    host.runtime.block_on(host.client.remove("once")).unwrap();
    host.until("removed", || host.unit("once").is_none());
    let left: Vec<_> = std::fs::read_dir(host.dir.join("run/orlop/containers"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!host.dir.join("var/lib/orlop/containers/once").exists());
}

#[test]
fn a_container_outlives_its_manager_and_stops_as_told() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let script = "trap 'echo bye; exit 0' TERM; echo hello; while true; do busybox sleep 0.1; done";
    host.apply(&[("stay", &unit(script, ""))]);
    let running = |unit: &orlop_control::types::UnitStatus| unit.state == UnitState::Running;
    let before = host.wait_unit("stay", "runs", running);
    host.until("hello", || {
        host.logs("stay").iter().any(|line| line.line == "hello")
    });
    for _ in 0..3 {
        host.kill_manager();
        let after = host.wait_unit("stay", "still runs", running);
        assert_eq!(
            (before.pid, &before.container_id),
            (after.pid, &after.container_id)
        );
    }
    host.runtime.block_on(host.client.stop("stay")).unwrap();
    let status = host.wait_unit("stay", "stopped", |unit| unit.state == UnitState::Stopped);
    assert_eq!(status.last_exit.unwrap().code, Some(0));
    let lines: Vec<_> = host
        .logs("stay")
        .into_iter()
        .map(|line| line.line)
        .collect();
    assert_eq!(lines, ["hello", "bye"]);
    // A stop is remembered.
    host.kill_manager();
    host.wait_unit("stay", "stays stopped", |unit| {
        unit.state == UnitState::Stopped
    });
    host.runtime.block_on(host.client.start("stay")).unwrap();
    host.wait_unit("stay", "runs again", running);
}

#[test]
fn what_cannot_start_says_why_and_a_bad_file_changes_nothing() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let missing = unit("true", "").replace("/bin/sh", "/bin/nothing");
    let image = unit("true", "").replace(IMAGE, "localhost/none:1");
    let forever = unit("exec busybox sleep 1000000", "");
    host.apply(&[("missing", &missing), ("image", &image), ("good", &forever)]);
    let says = |name: &str, word: &str| {
        host.wait_unit(name, word, |unit| {
            unit.reason
                .as_ref()
                .is_some_and(|reason| reason.contains(word))
        });
    };
    says("missing", "/bin/nothing");
    says("image", "localhost/none:1");
    for name in ["missing", "image"] {
        host.wait_unit(name, "backs off", |unit| {
            unit.state == UnitState::Backoff && unit.container_id.is_none()
        });
    }
    let good = host.wait_unit("good", "runs", |unit| unit.state == UnitState::Running);
    // Dropped in by hand, with a mistake.
    let file = host.dir.join("etc/orlop/units/good.toml");
    std::fs::write(&file, forever.replace("image =", "imago =")).unwrap();
    let bad = host.wait_unit("good", "rejected", |unit| !unit.diagnostics.is_empty());
    assert_eq!((bad.state, bad.pid), (UnitState::Running, good.pid));
    host.kill_manager();
    let bad = host.wait_unit("good", "runs on", |unit| !unit.diagnostics.is_empty());
    assert_eq!((bad.state, bad.pid), (UnitState::Running, good.pid));
    host.runtime.block_on(host.client.remove("good")).unwrap();
    host.until("gone", || host.unit("good").is_none());
}

#[test]
fn commands_run_in_a_container_with_and_without_a_terminal() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    host.apply(&[("box", &unit("exec busybox sleep 1000000", ""))]);
    host.wait_unit("box", "runs", |unit| unit.state == UnitState::Running);
    let run = |script: &str, tty: bool| {
        let request = ExecRequest {
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            tty,
            rows: 33,
            cols: 77,
            ..ExecRequest::default()
        };
        host.runtime.block_on(async {
            let mut session = host.client.exec("box", &request).await.unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            loop {
                match session.next().await.unwrap() {
                    ExecFrame::Stdout(bytes) => out.extend(bytes),
                    ExecFrame::Stderr(bytes) => err.extend(bytes),
                    ExecFrame::Exit(status) => {
                        let text = |bytes| String::from_utf8(bytes).unwrap();
                        return (text(out), text(err), status.code);
                    }
                }
            }
        })
    };
    let (out, err, code) = run("echo out; echo err >&2; exit 5", false);
    assert_eq!(
        (out.as_str(), err.as_str(), code),
        ("out\n", "err\n", Some(5))
    );
    let (out, _, code) = run("busybox stty size; exit 6", true);
    assert_eq!((out.trim_end(), code), ("33 77", Some(6)));
    for (command, tty, expected) in [
        ("/no/such", true, "commandNotFound"),
        ("/no/such", false, "commandNotFound"),
        ("/bin", true, "commandNotExecutable"),
    ] {
        let request = ExecRequest {
            command: vec![command.to_owned()],
            tty,
            ..ExecRequest::default()
        };
        let refused = host.runtime.block_on(host.client.exec("box", &request));
        let Err(ClientError::Api(error)) = refused else {
            panic!("{command} started");
        };
        assert_eq!(error.code, expected, "{error}");
    }
}

#[test]
fn health_decides_when_others_start() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let probe = "[health]\nexec = [\"/bin/sh\", \"-c\", \"test -e /ready\"]\ninterval = \"200ms\"";
    let script = "busybox sleep 1; echo ready >/ready; exec busybox sleep 1000000";
    let db = unit(script, probe);
    let web = format!(
        "[unit]\nrequires = [\"db\"]\n{}",
        unit("exec busybox sleep 1000000", "")
    );
    host.apply(&[("web", &web), ("db", &db)]);
    let waiting = host.wait_unit("web", "waits", |unit| unit.state == UnitState::Waiting);
    assert!(waiting.reason.unwrap().contains("db"));
    let db = host.wait_unit("db", "healthy", |unit| {
        unit.health == Some(HealthState::Healthy)
    });
    let web = host.wait_unit("web", "runs", |unit| unit.state == UnitState::Running);
    assert!(web.started_at.unwrap() > db.started_at.unwrap());
}

#[test]
fn a_shutdown_takes_what_the_units_ask_for_but_ends_before_pid_1_gives_up() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let deaf = "trap : TERM; echo deaf; while true; do busybox sleep 0.1; done";
    let db = unit(deaf, "[stop]\ntimeout = \"1000s\"");
    let web = format!(
        "[unit]\nrequires = [\"db\"]\n{}",
        unit("busybox sleep 1000000", "")
    );
    host.apply(&[("db", &db), ("web", &web)]);
    host.until("deaf", || !host.logs("db").is_empty());
    host.wait_unit("web", "runs", |unit| unit.state == UnitState::Running);
    // The manager's margin is 10 s of it.
    let deadline_ms = 13_000;
    let stop = FromInit::StopContainers { deadline_ms };
    host.tell.lock().unwrap().push(stop);
    let heard = || host.heard.lock().unwrap().clone();
    host.until("stopped", || heard().contains(&ToInit::ContainersStopped));
    // Ten seconds of its own for web, a margin for each.
    let needs = ToInit::Stopping {
        needs_ms: 1_000_000 + 10_000 + 2 * 10_000,
        containers: 2,
    };
    assert_eq!(heard(), [needs, ToInit::ContainersStopped]);
    assert_eq!(host.exit_codes("db"), [-1], "killed, and on record");
}

#[test]
fn a_shutdown_that_pid_1_has_not_begun_is_not_acknowledged() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let (run, client) = (&host.runtime, &host.client);
    host.until("a manager", || run.block_on(client.status()).is_ok());
    let reboot = ShutdownMode::Reboot;
    let asked = run.block_on(async {
        tokio::time::timeout(Duration::from_secs(1), client.shutdown(reboot)).await
    });
    assert!(asked.is_err(), "a kill would have it forgotten: {asked:?}");
    let off = run.block_on(client.shutdown(ShutdownMode::PowerOff));
    assert!(matches!(off, Err(ClientError::Api(error)) if error.status == 409));
    let mode = orlop_handover::ShutdownMode::Reboot;
    let heard = || host.heard.lock().unwrap().clone();
    host.until("asked", || heard() == [ToInit::Shutdown { mode }]);
    let deadline_ms = 13_000;
    let stop = FromInit::StopContainers { deadline_ms };
    host.tell.lock().unwrap().push(stop);
    run.block_on(client.shutdown(reboot)).unwrap();
    host.until("stopped", || heard().contains(&ToInit::ContainersStopped));
}

#[test]
fn a_container_may_write_its_name_files_but_not_fill_the_host() {
    if !possible() {
        return;
    }
    let _alone = alone();
    let host = TestHost::start();
    let script = "echo 10.0.0.1 mine >>/etc/hosts; busybox tail -n 1 /etc/hosts; \
        for name in hosts resolv.conf hostname; do \
        busybox head -c 1000000 /dev/zero >/etc/$name || echo full; done; \
        busybox cat /etc/hosts /etc/resolv.conf /etc/hostname | busybox wc -c; exit 3";
    let never = "[restart]\npolicy = \"never\"";
    host.apply(&[("writer", &unit(script, never))]);
    host.wait_unit("writer", "ended", |unit| unit.state == UnitState::Failed);
    let lines = host.logs("writer").into_iter();
    let lines = lines.filter(|line| line.stream == LogStream::Stdout);
    let lines: Vec<_> = lines.map(|line| line.line).collect();
    assert_eq!(lines, ["10.0.0.1 mine", "full", "full", "full", "65536"]);
    // What is mounted cannot be removed.
    let left = std::fs::read_dir(host.dir.join("run/orlop/containers"));
    assert_eq!(left.unwrap().count(), 0);
}
