//! How `exec` and its process begin and end together.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use crate::support::{BASE, bench, refused, started, text, until};

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

/// "Permission denied" says what denies it.
#[test]
fn what_may_not_be_executed_says_why() {
    let Some(mut bench) = bench("denied") else {
        return;
    };
    let root = bench.rootfs();
    let file = |name: &str, text: &str, mode: u32| {
        std::fs::write(root.join(name), text).unwrap();
        std::fs::set_permissions(root.join(name), PermissionsExt::from_mode(mode)).unwrap();
        let owner = Some(BASE);
        std::os::unix::fs::lchown(root.join(name), owner, owner).unwrap();
    };
    for directory in ["closed", "closed/in", "still"] {
        std::fs::create_dir(root.join(directory)).unwrap();
    }
    file("closed/in/tool", "#!/bin/sh\n", 0o755);
    std::fs::set_permissions(root.join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    file("plain", "#!/bin/sh\n", 0o644);
    file("ours", "#!/bin/sh\n", 0o750);
    file("script", "#!/plain\n", 0o755);
    file("still/tool", "#!/bin/sh\n", 0o755);
    std::os::unix::fs::symlink("closed/in/tool", root.join("link")).unwrap();
    bench.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({
        "destination": "/still", "source": root.join("still"), "options": ["bind", "noexec"]
    }));
    for (program, expected) in [
        (
            "/closed/in/tool",
            "the directory /closed cannot be searched by user 1000:1000 (mode 0700",
        ),
        ("/plain", "it has no execute bit (mode 0644"),
        (
            "/ours",
            "user 1000:1000 may not execute it (mode 0750, owner 0:0)",
        ),
        ("/script", "its interpreter /plain: it has no execute bit"),
        (
            "/still/tool",
            "the file system that it is on is mounted noexec",
        ),
        (
            "/link",
            "it is a link to closed/in/tool; the directory /closed cannot be searched",
        ),
    ] {
        bench.args(&[program]);
        let (status, said) = bench.run();
        assert_eq!(status, 126, "{program}: {said}");
        let expected = format!("permission denied: {expected}");
        assert!(said.contains(&expected), "{program}: {said}");
    }
    bench.args(&["true"]);
    bench.config["process"]["cwd"] = json!("/closed/in");
    let said = bench.run().1;
    let expected = "cwd /closed/in: permission denied: the directory /closed cannot be searched by";
    assert!(said.contains(expected), "{said}");
    bench.assert_nothing_left();
}

/// Whether there is one is the file's matter, with or without --tty.
#[test]
fn a_terminal_as_the_process_file_has_it() {
    let Some(mut bench) = bench("filetty") else {
        return;
    };
    let id = bench.id("filetty");
    started(&mut bench, &id);
    let file = |terminal: bool| {
        let process = json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
            "args": ["sh", "-c", "tty; exit 4"], "terminal": terminal
        });
        std::fs::write(bench.path("bundle/process.json"), process.to_string()).unwrap();
    };
    let plain = ["exec", "--process", "process.json", &id];
    let with_tty = ["exec", "--tty", "--process", "process.json", &id];
    file(true);
    for args in [&plain[..], &with_tty] {
        let (status, said) = text(&bench.call(args));
        assert!(
            status == 4 && said.contains("/dev/pts/0"),
            "{args:?}: {said}"
        );
    }
    file(false);
    assert_eq!(text(&bench.call(&plain)), (4, "not a tty\n".into()));
    refused(&bench, &with_tty, "put \"terminal\": true into the file");
    let sized = [
        "exec",
        "--console-size",
        "3x4",
        "--process",
        "process.json",
        &id,
    ];
    refused(&bench, &sized, "--console-size beside --process");
    let sized = ["exec", "--console-size", "3x4", &id, "true"];
    refused(&bench, &sized, "--console-size without a terminal");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
