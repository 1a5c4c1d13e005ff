//! What fails, or is killed, leaves nothing behind: `create` at each of its steps, by a
//! configuration that fails there, by running out of descriptors or inodes, and by SIGKILL at
//! many moments.

use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::breakouts::without_user_namespace;
use crate::support::{BASE, Bench, after, bench, rounds, text};

/// For what a killed command's process may still need for its end.
fn settle(bench: &Bench) {
    let began = Instant::now();
    while !bench.processes().is_empty() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(2));
    }
    bench.assert_nothing_left();
}

/// A step, what is put where in the configuration so that it fails, and what it says then.
type Unable = (&'static str, &'static str, Value, &'static str);

fn ids(inside: u32, count: u32) -> Value {
    json!({"containerID": inside, "hostID": BASE, "size": count})
}

/// Steps of the parent.
#[rustfmt::skip]
fn unable_outside() -> Vec<Unable> {
    let namespace = |kind: &str| json!({"type": kind, "path": "/proc/self/ns/net"});
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]);
    let idmap = json!({"destination": "/x", "source": "/proc", "options": ["bind", "idmap"]});
    let source = json!({"destination": "/x", "source": "/no/such", "options": ["bind"]});
    let devices = json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 0}]);
    vec![
        ("cgroup", "/linux/cgroupsPath", json!("/a/../b"), "cgroupsPath"),
        ("root", "/root/path", json!("nowhere"), "nowhere"),
        ("no root", "/root/path", json!("rootfs/bin/busybox"), "not a directory"),
        ("source", "/mounts/-", source, "/no/such"),
        ("device", "/linux/devices", devices, "/dev/x"),
        ("joining users", "/linux/namespaces/0", namespace("user"), "names no such"),
        ("joining pids", "/linux/namespaces/1", namespace("pid"), "none of this kind"),
        ("maps", "/linux/uidMappings", json!([ids(0, 9), ids(5, 9)]), "uidMappings"),
        ("id-mapping", "/mounts/-", idmap, "id-mapped"),
        ("score", "/process/oomScoreAdj", json!(5000), "oomScoreAdj"),
        ("limits", "/process/rlimits", limit, "RLIMIT_NOFILE"),
    ]
}

/// Steps of the child.
#[rustfmt::skip]
fn unable_inside() -> Vec<Unable> {
    let ipc = json!({"type": "ipc", "path": "/proc/self/ns/net"});
    let file = json!({"destination": "/bin/busybox/x", "type": "tmpfs"});
    let groups = json!({"uid": 0, "gid": 0, "additionalGids": [70000]});
    let long = json!("x".repeat(65));
    vec![
        ("becoming root", "/linux/uidMappings", json!([ids(5, 9)]), "mapped"),
        ("joining ipc", "/linux/namespaces/5", ipc, "none of this kind"),
        ("host name", "/hostname", long, "hostname"),
        ("target", "/mounts/-", file, "not a directory"),
        ("file system", "/mounts/0/type", json!("nofs"), "mount"),
        ("option", "/mounts/2/options", json!(["bogus=1"]), "bogus"),
        ("mask", "/linux/maskedPaths", json!(["/proc/self"]), "/proc/self"),
        ("read-only", "/linux/readonlyPaths", json!(["/proc/self"]), "/proc/self"),
        ("sysctl", "/linux/sysctl", json!({"net.no.such": "1"}), "net.no.such"),
        ("groups", "/process/user", groups, "additionalGids"),
        ("user", "/process/user", json!({"uid": 70000, "gid": 0}), "become user 70000"),
        ("directory", "/process/cwd", json!("/bin/busybox"), "/bin/busybox"),
        ("program", "/process/args", json!(["/no/such"]), "/no/such"),
    ]
}

fn change(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Array(list) if key == "-" => list.push(value),
        other => match key.parse::<usize>() {
            Ok(index) => other[index] = value,
            Err(_) => other[key] = value,
        },
    }
}

#[test]
fn of_a_create_that_fails_at_any_step() {
    let Some(mut bench) = bench("steps") else {
        return;
    };
    let id = bench.id("steps");
    let good = bench.config.clone();
    let refused = |bench: &Bench, step: &str, args: &[&str], expected: &str| {
        // Into a file: a pipe would be waited for until the last process that has it ends.
        let path = bench.path("said");
        let file = std::fs::File::create(&path).unwrap();
        let mut command = bench.command(args);
        command.stdout(Stdio::null()).stderr(file);
        let status = command.status().unwrap().code().unwrap_or(-1);
        let said = std::fs::read_to_string(path).unwrap();
        let right = status == 1 && said.contains(expected);
        assert!(right, "{step}: {status} {said}");
        assert_eq!(said.lines().count(), 1, "{step}: {said}");
        assert!(!bench.path("bundle/pid").exists(), "{step}");
        bench.assert_nothing_left();
    };
    let create = ["create", "--pid-file", "pid", &id];
    for (step, pointer, value, expected) in unable_outside().into_iter().chain(unable_inside()) {
        bench.config = good.clone();
        change(&mut bench.config, pointer, value);
        refused(&bench, step, &create, expected);
    }
    bench.config = good.clone();
    let nowhere = ["create", "--pid-file", "no/such/pid", &id];
    refused(&bench, "pid file", &nowhere, "no/such/pid");
    bench.config["process"]["terminal"] = json!(true);
    let socket = [
        "create",
        "--console-socket",
        "none",
        "--pid-file",
        "pid",
        &id,
    ];
    refused(&bench, "socket", &socket, "console socket none");
    let _listener = UnixListener::bind(bench.path("bundle/console")).unwrap();
    bench.config["mounts"].as_array_mut().unwrap().remove(2);
    let socket = [
        "create",
        "--console-socket",
        "console",
        "--pid-file",
        "pid",
        &id,
    ];
    refused(&bench, "terminal", &socket, "devpts");
}

/// Every step that opens something fails once, as the limit grows.
#[test]
fn of_a_create_without_descriptors() {
    let Some(mut bench) = bench("nofile") else {
        return;
    };
    let id = bench.id("nofile");
    let (mut failed, mut created) = (0, 0);
    for users in [true, false] {
        if !users {
            without_user_namespace(&mut bench);
            // A descriptor that is held from early on: what is opened first, and closed, else
            // needs as many as the state directory does.
            let own = json!({"type": "network", "path": "/proc/self/ns/net"});
            let kinds = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
            kinds.retain(|kind| kind["type"] != "network");
            kinds.push(own);
        }
        for limit in 3..30 {
            let command = bench.command(&["create", "--pid-file", "pid", &id]);
            let mut command = after(&format!("ulimit -n {limit}"), &command);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            if status.unwrap().success() {
                created += 1;
                bench.quiet(&["delete", "--force", &id]);
                std::fs::remove_file(bench.path("bundle/pid")).unwrap();
            } else {
                failed += 1;
                assert!(!bench.path("bundle/pid").exists(), "{limit}");
            }
            bench.assert_nothing_left();
        }
    }
    assert!(
        failed > 10 && created > 0,
        "{failed} failed, {created} did not"
    );
}

/// The state directory is full, at each thing that is made in it, or read-only.
#[test]
fn of_a_create_without_room_for_its_state() {
    let Some(mut bench) = bench("full") else {
        return;
    };
    bench.args(&["sleep", "1000"]);
    let id = bench.id("full");
    let state = bench.path("state");
    std::fs::create_dir(&state).unwrap();
    let (mut failed, mut created) = (0, 0);
    let options = (1..8).map(|inodes| format!("nr_inodes={inodes}"));
    for options in options.chain(["ro".to_owned()]) {
        let create = bench.command(&["create", "--pid-file", "pid", &id]);
        let delete = bench.command(&["delete", "--force", &id]);
        let shown = |command: &Command| {
            let words = command
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        let runtime = create.get_program().to_str().unwrap();
        // The file system is mounted where nobody else sees it, and goes with this shell.
        let script = format!(
            "mount -t tmpfs -o {options} tmpfs {at}; \
             if {runtime} {create} > {log} 2>&1 < /dev/null; then \
             {runtime} {delete} && echo created; else cat {log}; fi; ls -A {at}",
            at = state.display(),
            log = bench.path("log").display(),
            create = shown(&create),
            delete = shown(&delete),
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script]);
        shell.current_dir(bench.path("bundle"));
        let (status, said) = text(&shell.output().unwrap());
        assert_eq!((status, said.lines().count()), (0, 1), "{options}: {said}");
        let pid_file = bench.path("bundle/pid");
        if said == "created\n" {
            created += 1;
            std::fs::remove_file(pid_file).unwrap();
        } else {
            failed += 1;
            assert!(!pid_file.exists(), "{options}");
            let why = if options == "ro" {
                "Read-only"
            } else {
                "No space"
            };
            assert!(
                said.contains(why) && said.contains("state"),
                "{options}: {said}"
            );
        }
        bench.assert_nothing_left();
    }
    assert!(
        failed > 3 && created > 0,
        "{failed} failed, {created} did not"
    );
}

/// Whenever it is killed, `delete --force` finds all that there is: at a hundred moments, or
/// fewer where ORLOP_TESTS_ROUNDS says so.
#[test]
fn of_a_create_that_is_killed() {
    let Some(mut bench) = bench("kill9") else {
        return;
    };
    bench.args(&["sleep", "1000"]);
    let id = bench.id("kill9");
    for users in [true, false] {
        if !users {
            without_user_namespace(&mut bench);
        }
        let whole = Instant::now();
        bench.quiet(&["create", &id]);
        let whole = whole.elapsed() + Duration::from_millis(2);
        bench.quiet(&["delete", "--force", &id]);
        let moments = rounds(100);
        for moment in 0..moments {
            let mut create = bench
                .command(&["create", "--pid-file", "pid", &id])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole * moment / moments);
            create.kill().unwrap();
            create.wait().unwrap();
            let (status, said) = text(&bench.call(&["delete", "--force", &id]));
            assert_eq!((status, &*said), (0, ""), "moment {moment}");
            settle(&bench);
        }
    }
}
