//! Hooks that never end, and have no timeout: the container can be seen, and be got rid of.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Bench, bench, refused, text, until};

/// Has a hook of this kind that says when it hangs, and by which process. Where that is said.
fn hang(bench: &mut Bench, kind: &str) -> PathBuf {
    let (inside, said) = match kind {
        "createContainer" | "startContainer" => (true, bench.rootfs().join("tmp/hangs")),
        _ => (false, bench.path("hangs")),
    };
    let _ = std::fs::remove_file(&said);
    let at = if inside {
        Path::new("tmp/hangs")
    } else {
        &said
    };
    let script = format!("echo $$ > {}; sleep 1000; :", at.display());
    bench.config["hooks"] = json!({ kind: [{
        "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
    }] });
    said
}

/// The command, once its hook hangs.
fn hanging(bench: &Bench, args: &[&str], said: &Path) -> Child {
    let log = std::fs::File::create(bench.path("stderr")).unwrap();
    let mut command = bench.command(args);
    let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until("it hangs", || {
        std::fs::read_to_string(said).is_ok_and(|text| text.ends_with('\n'))
    });
    child
}

/// `delete --force` works at once, and makes the other command end.
fn delete(bench: &Bench, id: &str, mut other: Child) -> (i32, String) {
    let began = Instant::now();
    let (status, said) = text(&bench.call(&["delete", "--force", id]));
    assert_eq!((status, &*said), (0, ""));
    assert!(began.elapsed() < Duration::from_secs(9), "it waited");
    let status = other.wait().unwrap();
    let said = std::fs::read_to_string(bench.path("stderr")).unwrap();
    (status.code().unwrap_or(-1), said)
}

#[test]
fn of_create() {
    let Some(mut bench) = bench("stuckcreate") else {
        return;
    };
    let id = bench.id("stuck");
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let file = hang(&mut bench, kind);
        let create = hanging(&bench, &["create", "--pid-file", "pid", &id], &file);
        assert_eq!(bench.status(&id), "creating", "{kind}");
        let container = bench.pid(&id);
        assert!(Path::new(&format!("/proc/{container}")).exists(), "{kind}");
        let (_, list) = text(&bench.call(&["list"]));
        assert!(list.contains(&id) && list.contains("creating"), "{list}");
        // Neither is there anything yet to be signalled, or to be entered.
        refused(&bench, &["kill", &id, "KILL"], "still being created");
        refused(&bench, &["exec", &id, "true"], "still being created");
        let (status, said) = delete(&bench, &id, create);
        assert_eq!(status, 1, "{kind}: {said}");
        if kind != "createContainer" {
            let expected = format!("hooks.{kind}[0] /bin/sh: was killed, because");
            assert!(said.contains(&expected), "{said}");
            let pid = std::fs::read_to_string(&file).unwrap();
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim()));
            assert_eq!(line.unwrap_or_default(), "", "the hook lives on");
        }
        assert!(!bench.path("bundle/pid").exists(), "{kind}");
        bench.assert_nothing_left();
    }
}

/// Whoever may not end it, does not wait without end.
#[test]
fn others_say_what_they_waited_for() {
    let Some(mut bench) = bench("stuckothers") else {
        return;
    };
    let id = bench.id("stuck");
    let file = hang(&mut bench, "prestart");
    let create = hanging(&bench, &["create", &id], &file);
    let calls = [
        vec!["pause", &id],
        vec!["resume", &id],
        vec!["start", &id],
        vec!["update", "--pids-limit", "9", &id],
        vec!["delete", &id],
    ];
    let began = Instant::now();
    let waiting = calls.iter().map(|args| {
        let mut command = bench.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    for (args, child) in calls.iter().zip(waiting.collect::<Vec<_>>()) {
        let (status, said) = text(&child.wait_with_output().unwrap());
        let expected = format!("another command works on container {id}");
        let right = status == 1 && said.contains(&expected);
        assert!(right, "{args:?}: {status} {said}");
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(delete(&bench, &id, create).0, 1);
    bench.assert_nothing_left();
}

/// When `create` is killed, too.
#[test]
fn of_a_create_that_was_killed() {
    let Some(mut bench) = bench("stuckkilled") else {
        return;
    };
    let id = bench.id("stuck");
    let file = hang(&mut bench, "createContainer");
    let mut create = hanging(&bench, &["create", &id], &file);
    create.kill().unwrap();
    create.wait().unwrap();
    assert_eq!(bench.status(&id), "creating");
    refused(&bench, &["start", &id], "still being created");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn inside_of_start() {
    let Some(mut bench) = bench("stuckinside") else {
        return;
    };
    let id = bench.id("stuck");
    let file = hang(&mut bench, "startContainer");
    bench.quiet(&["create", &id]);
    let start = hanging(&bench, &["start", &id], &file);
    delete(&bench, &id, start);
    bench.assert_nothing_left();
}

/// The container runs meanwhile, and can be worked on. The hook is not the container's.
#[test]
fn after_start() {
    let Some(mut bench) = bench("stuckafter") else {
        return;
    };
    let id = bench.id("stuck");
    let file = hang(&mut bench, "poststart");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    let mut start = hanging(&bench, &["start", &id], &file);
    assert_eq!(bench.status(&id), "running");
    refused(&bench, &["start", &id], "running already");
    refused(&bench, &["resume", &id], "not paused");
    bench.quiet(&["kill", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);
    assert!(start.try_wait().unwrap().is_none());
    let hook = std::fs::read_to_string(&file).unwrap();
    let hook = rustix::process::Pid::from_raw(hook.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process_group(hook, rustix::process::Signal::KILL).unwrap();
    assert_eq!(start.wait().unwrap().code(), Some(1));
    bench.assert_nothing_left();
}
