//! How a foreground `run` ends: with its own container, its own error, and signals passed on.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{bench, text, until};

fn hook(script: &str) -> serde_json::Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
}

/// The signal comes after the start and before the relay: the container gets it.
#[test]
fn an_early_signal_is_passed_on() {
    let Some(mut bench) = bench("early") else {
        return;
    };
    let ready = bench.rootfs().join("tmp/ready");
    let (hooks, created) = (bench.path("hook"), bench.path("created"));
    let script = format!(
        "until [ -s {ready} ]; do sleep 0.02; done; kill -TERM $PPID",
        ready = ready.display(),
    );
    let mut poststart = hook(&script);
    // No shell: some unblock all themselves.
    let copy = json!(["cp", "/proc/self/status", hooks.to_str().unwrap()]);
    let copy = json!({"path": "/bin/cp", "args": copy});
    poststart.as_array_mut().unwrap().insert(0, copy);
    let script = format!(
        "read -r state; pid=${{state##*pid\\\":}}; cp /proc/${{pid%%[!0-9]*}}/status {}",
        created.display()
    );
    bench.config["hooks"] = json!({"createRuntime": hook(&script), "poststart": poststart});
    bench.args(&[
        "sh",
        "-c",
        "trap 'exit 3' TERM; grep SigBlk /proc/self/status > /tmp/ready; \
         while :; do sleep 0.05; done",
    ]);
    let mut run = bench.command(&["run", &bench.id("early")]);
    let status = run.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(3));
    // Neither a hook nor the container has them blocked, at any time.
    for path in [hooks, created, ready] {
        let status = std::fs::read_to_string(&path).unwrap();
        let free = status.contains("SigBlk:\t0000000000000000");
        assert!(free, "{}: {status}", path.display());
    }
    bench.assert_nothing_left();
}

#[test]
fn another_with_its_id_is_left_alone() {
    let Some(mut bench) = bench("another") else {
        return;
    };
    let id = bench.id("another");
    bench.args(&["sleep", "1000"]);
    let mut run = bench
        .command(&["run", &id])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !text(&bench.call(&["state", &id])).1.contains("running") {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_child(&run);
    kill_process(pid, Signal::STOP).unwrap();
    bench.quiet(&["delete", "--force", &id]);
    bench.quiet(&["create", &id]);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(137));
    assert_eq!(bench.status(&id), "created");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn the_first_error_keeps_its_status() {
    let Some(mut bench) = bench("both") else {
        return;
    };
    let id = bench.id("run");
    let script = bench.rootfs().join("bin/script");
    std::fs::write(&script, "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    bench.args(&["script"]);
    // So that the directory cannot be removed.
    let extra = bench.path("state").join(&id).join("extra");
    let touch = format!("touch {}", extra.display());
    bench.config["hooks"] = json!({"createRuntime": hook(&touch)});
    let (status, said) = bench.run();
    assert_eq!(status, 126, "{said}");
    for expected in ["interpreter", "Directory not empty"] {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
    std::fs::remove_file(extra).unwrap();
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// What stops an image with systemd in it, and what others come by.
#[test]
fn signals_that_are_seldom_are_passed_on_too() {
    let Some(mut bench) = bench("seldom") else {
        return;
    };
    for (number, signal) in [14, 29, 30, 34, 37, 64].into_iter().enumerate() {
        let ready = bench.rootfs().join(format!("tmp/ready{number}"));
        let script = format!(
            "trap 'exit 3' {signal}; touch /tmp/ready{number}; while :; do sleep 0.05; done"
        );
        bench.args(&["sh", "-c", &script]);
        let id = bench.id("seldom");
        let mut run = bench.command(&["run", &id]);
        let mut run = run.stdout(Stdio::null()).spawn().unwrap();
        until("the trap", || ready.exists());
        let sent = std::process::Command::new("kill")
            .args(["-s", &signal.to_string(), &run.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(run.wait().unwrap().code(), Some(3), "{signal}");
    }
    bench.assert_nothing_left();
}
