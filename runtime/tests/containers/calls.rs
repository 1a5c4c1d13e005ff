//! What a call of the command takes from its caller, and what it leaves behind.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use serde_json::json;

use crate::support::{Bench, after, bench, skipped, text};

/// The command under another umask.
fn with_umask(umask: &str, command: &Command) -> Command {
    after(&format!("umask {umask}"), command)
}

/// A locked file, and a command that inherits the lock.
fn with_lock(bench: &Bench, mut command: Command) -> (File, Child) {
    let path = bench.path("lock");
    let held = File::create(&path).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    orlop_sys::pass::pass_on(&mut command, held.into());
    let log = File::create(bench.path("stderr")).unwrap();
    let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    // Here the only copy that is not the child's is closed.
    drop(command);
    (File::open(path).unwrap(), child)
}

fn is_free(lock: &File) -> bool {
    flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Descriptors are copied by every fork of this process until the child's exec, so what a call
/// has let go of may be held for a moment by the test beside this one.
fn wait_until_free(lock: &File) {
    for _ in 0..6000 {
        if is_free(lock) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the lock is still held");
}

/// A caller that was killed must be able to tell, when it is back, that its call still runs.
#[test]
fn an_inherited_lock_is_held_as_long_as_the_call() {
    let Some(mut bench) = bench("lock") else {
        return;
    };
    let id = bench.id("lock");
    // Without a user namespace the command executes itself again; the lock survives that too.
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let good = bench.config.clone();
    let fifo = bench.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // It connects to the console, and then waits for somebody to open the other end of this.
    let script = format!("read -r line < {}", fifo.display());
    bench.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    bench.config["process"]["terminal"] = json!(true);
    let socket = bench.path("socket");
    let console = UnixListener::bind(&socket).unwrap();
    let mut command = bench.command(&["create", "--console-socket"]);
    command.arg(&socket).arg(&id);
    let (lock, mut child) = with_lock(&bench, command);
    console.set_nonblocking(true).unwrap();
    let connection = loop {
        match console.accept() {
            Ok((connection, _)) => break connection,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
        if child.try_wait().unwrap().is_some() {
            panic!("{}", std::fs::read_to_string(bench.path("stderr")).unwrap());
        }
    };
    let exe = format!("/proc/{}/exe", child.id());
    let flags = rustix::fs::statvfs(exe.as_str()).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    for _ in 0..20 {
        assert!(!is_free(&lock), "the call runs, and the lock is free");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    assert!(!child.wait().unwrap().success(), "a line that nobody wrote");
    drop(connection);
    wait_until_free(&lock);
    drop(lock);

    bench.config = good;
    bench.args(&["sleep", "1000"]);
    for verb in ["create", "start"] {
        let (lock, mut child) = with_lock(&bench, bench.command(&[verb, &id]));
        let status = child.wait().unwrap();
        let said = std::fs::read_to_string(bench.path("stderr")).unwrap();
        assert!(status.success(), "{verb}: {said}");
        // The container does not have it, else it would be held as long as that lives.
        wait_until_free(&lock);
    }
    assert_eq!(bench.status(&id), "running");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// An open umask gives no file away, and a closed one takes nothing from the container.
#[test]
fn the_umask_decides_no_mode() {
    let Some(mut bench) = bench("umask") else {
        return;
    };
    let id = bench.id("umask");
    let mode = |path: &str| std::fs::metadata(bench.path(path)).unwrap().mode() & 0o7777;
    let log = bench.path("log");
    let mut failing = bench.command(&["--log", log.to_str().unwrap(), "delete", "none"]);
    let status = with_umask("0", failing.stderr(Stdio::null())).status();
    assert!(!status.unwrap().success());
    assert_eq!(mode("log"), 0o600);

    bench.state = "deep/state";
    bench.args(&[
        "sh",
        "-c",
        "stat -c %a /dev/null /dev/tty /dev /new /new/point",
    ]);
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/new/point/deep", "type": "tmpfs"}));
    for umask in ["0", "077"] {
        let mode = |path: &str| std::fs::metadata(bench.path(path)).unwrap().mode() & 0o7777;
        let elsewhere = bench.path("elsewhere");
        std::fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, bench.path("bundle/pid.new")).unwrap();
        let command = bench.command(&["run", "--pid-file", "pid", &id]);
        let (status, said) = text(&with_umask(umask, &command).output().unwrap());
        assert_eq!(status, 0, "{said}");
        let modes: Vec<_> = said.split_whitespace().collect();
        assert_eq!(modes, ["666", "666", "755", "755", "755"], "{umask}");
        assert_eq!(mode("deep"), 0o700);
        assert_eq!(mode("deep/state"), 0o700);
        assert_eq!(mode("bundle/pid"), 0o644);
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "untouched");
        bench.assert_nothing_left();
        std::fs::remove_dir_all(bench.rootfs().join("new")).unwrap();
        std::fs::remove_file(bench.path("bundle/pid")).unwrap();
        std::fs::remove_dir_all(bench.path("deep")).unwrap();
    }
}

/// As a `create` that was killed leaves one. Its limits must not hold for the next.
#[test]
fn a_cgroup_that_was_left_is_made_anew() {
    let Some(mut bench) = bench("cgroup") else {
        return;
    };
    let id = bench.id("left");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    std::fs::create_dir_all(cgroup.join("below/deeper")).unwrap();
    std::fs::write(cgroup.join("cgroup.max.descendants"), "7").unwrap();
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    let now = std::fs::read_to_string(cgroup.join("cgroup.max.descendants")).unwrap();
    assert_eq!(now, "max\n");
    assert!(!cgroup.join("below").exists());
    // One that is lived in stays as it is.
    bench.config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    let (status, said) = text(&bench.call(&["create", &bench.id("other")]));
    assert!(
        status == 1 && said.contains("processes live in it"),
        "{said}"
    );
    bench.quiet(&["start", &id]);
    assert_eq!(bench.status(&id), "running");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// Nothing is waited for that cannot come: a frozen process answers when it is thawed.
#[test]
fn no_call_waits_for_a_frozen_container() {
    let Some(mut bench) = bench("frozen") else {
        return;
    };
    let id = bench.id("frozen");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    bench.args(&["sleep", "1000"]);
    let freeze = |value: &str| std::fs::write(cgroup.join("cgroup.freeze"), value).unwrap();
    let refused = |args: &[&str]| {
        let (status, said) = text(&bench.call(args));
        assert!(
            status == 1 && said.contains("is frozen"),
            "{args:?}: {said}"
        );
    };
    bench.quiet(&["create", &id]);
    freeze("1");
    // More than the process's queue of connections has room for.
    for _ in 0..20 {
        assert_eq!(bench.status(&id), "paused");
    }
    refused(&["start", &id]);
    freeze("0");
    bench.quiet(&["start", &id]);
    freeze("1");
    assert_eq!(bench.status(&id), "paused");
    refused(&["exec", &id, "true"]);
    freeze("0");
    bench.quiet(&["exec", &id, "true"]);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// /proc/keys shows what the reader has, of its own user namespace: nothing when the session's
/// keyring is the caller's.
#[test]
fn processes_have_a_keyring_of_their_own() {
    let Some(mut bench) = bench("keys") else {
        return;
    };
    if !std::path::Path::new("/proc/keys").exists() {
        return skipped("this kernel has no keys");
    }
    bench.config["linux"]["maskedPaths"] = json!([]);
    let (status, said) = bench.sh("cat /proc/keys");
    assert!(status == 0 && said.contains("_ses"), "{said}");
}

/// Else one that the command opened itself would be taken for the missing one.
#[test]
fn descriptors_to_preserve_must_be_open() {
    let Some(mut bench) = bench("preserve") else {
        return;
    };
    std::fs::write(bench.path("bundle/content"), "content\n").unwrap();
    bench.args(&["sh", "-c", "cat <&3; ls /proc/self/fd"]);
    let id = bench.id("preserve");
    let run = |count: &str| {
        let command = bench.command(&["run", "--preserve-fds", count, &id]);
        text(&after("exec 3< content", &command).output().unwrap())
    };
    assert_eq!(run("1"), (0, "content\n0\n1\n2\n3\n4\n".into()));
    let (status, said) = run("2");
    assert!(
        status == 1 && said.contains("descriptor 4 is not open"),
        "{status} {said}"
    );
    bench.assert_nothing_left();
}
