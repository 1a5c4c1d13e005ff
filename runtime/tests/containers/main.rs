//! The real command, real containers: as root, on a machine with or without cgroup v2
//! controllers (limits are tested where there are some, in a virtual machine).

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]

mod bad_input;
mod breakouts;
mod calls;
mod clocks;
mod commands;
mod devices;
mod environment;
mod exec;
mod filters;
mod hooks;
mod kept;
mod killing;
mod landlock;
mod leftovers;
mod limits;
mod listing;
#[cfg(target_arch = "x86_64")]
mod machines;
mod mounts;
mod notify;
mod options;
mod paused;
mod pidfds;
mod relay;
mod rootless;
mod roots;
mod run;
mod running;
mod shared_mounts;
mod stuck;
mod support;
mod unharmed;
mod updates;

use serde_json::json;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use support::{BASE, bench, rounds, text};

#[test]
fn lifecycle() {
    let Some(mut bench) = bench("lifecycle") else {
        return;
    };
    let id = bench.id("one");
    bench.args(&[
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo > /dev/null; while :; do sleep 0.05; done",
    ]);
    bench.quiet(&["create", "--pid-file", "pid", &id]);
    assert_eq!(bench.status(&id), "created");
    let pid = std::fs::read_to_string(bench.path("bundle/pid")).unwrap();
    assert_eq!(pid, bench.pid(&id).to_string());
    // As with runc: where the process that waits is, and it waits on.
    let further = bench.call(&[
        "exec",
        &id,
        "sh",
        "-c",
        "hostname; ! ls /proc/1/fd 2> /dev/null",
    ]);
    assert_eq!(text(&further), (0, "box\n".to_owned()));
    assert_eq!(bench.status(&id), "created");
    let (status, said) = text(&bench.call(&["create", &id]));
    assert!(status == 1 && said.contains("exists already"), "{said}");
    bench.quiet(&["start", &id]);
    assert_eq!(bench.status(&id), "running");
    let (status, said) = text(&bench.call(&["start", &id]));
    assert!(status == 1 && said.contains("running already"), "{said}");
    let (status, said) = text(&bench.call(&["delete", &id]));
    assert!(status == 1 && said.contains("is running"), "{said}");
    let (_, list) = text(&bench.call(&["list", "--format", "json"]));
    assert!(list.contains(&id) && list.contains("running"), "{list}");
    bench.quiet(&["kill", &id, "KILL"]);
    bench.wait_for(&id, "stopped");
    let (status, said) = text(&bench.call(&["kill", &id, "TERM"]));
    assert!(status == 1 && said.contains("not running"), "{said}");
    let (status, _) = text(&bench.call(&["start", &id]));
    assert_eq!(status, 1);
    bench.quiet(&["delete", &id]);
    let (status, said) = text(&bench.call(&["delete", &id]));
    assert!(status == 1 && said.contains("does not exist"), "{said}");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn exit_statuses_come_through() {
    let Some(mut bench) = bench("status") else {
        return;
    };
    assert_eq!(bench.sh("exit 0").0, 0);
    assert_eq!(bench.sh("exit 7").0, 7);
    assert_eq!(bench.sh("exit 255").0, 255);
    // The first process of a pid namespace cannot kill itself; a second one can.
    assert_eq!(bench.sh("sh -c 'kill -9 $$'; exit $?").0, 137);
    bench.assert_nothing_left();
}

#[test]
fn what_the_process_is_allowed() {
    let Some(mut bench) = bench("allowed") else {
        return;
    };
    let (status, said) = bench.sh(
        "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/uid_map; hostname; \
         id; mount -t tmpfs x /tmp; unshare -m true; mkdir /proc/sys/x; echo $$",
    );
    assert_eq!(status, 0, "{said}");
    let caps = "0000000000000421"; // CHOWN, KILL, NET_BIND_SERVICE
    for expected in [
        "CapInh:\t0000000000000000",
        &format!("CapPrm:\t{caps}"),
        &format!("CapEff:\t{caps}"),
        &format!("CapBnd:\t{caps}"),
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        &format!("{BASE}      65536"),
        "box",
        "uid=0 gid=0",
        "mount: permission denied",
        "unshare(0x20000): Operation not permitted",
        "\n1\n",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    bench.config["process"]["user"] =
        json!({"uid": 1000, "gid": 7, "additionalGids": [8], "umask": 63});
    // Without ambient capabilities, execve takes them from whoever is not root.
    let (_, said) = bench.sh("id; grep CapEff /proc/self/status; umask");
    assert!(said.contains("uid=1000 gid=7 groups=8"), "{said}");
    assert!(
        said.contains("CapEff:\t0000000000000000") && said.contains("0077"),
        "{said}"
    );
}

#[test]
fn no_descriptor_leaks() {
    let Some(mut bench) = bench("fds") else {
        return;
    };
    let id = bench.id("fds");
    bench.args(&["sleep", "1000"]);
    // A descriptor without close-on-exec, as a careless caller leaves it.
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    let loose = rustix::io::fcntl_dupfd_cloexec(&leak, 50).unwrap();
    rustix::io::fcntl_setfd(&loose, rustix::io::FdFlags::empty()).unwrap();
    bench.quiet(&["create", &id]);
    let pid = bench.pid(&id);
    let links = |pid: u64| -> Vec<(u32, String)> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut links: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let link = std::fs::read_link(entry.path()).unwrap();
                let fd = entry.file_name().to_str().unwrap().parse().unwrap();
                (fd, link.to_str().unwrap().to_owned())
            })
            .collect();
        links.sort();
        links
    };
    // The last word between it and `create` may still be on its way.
    let mut created = links(pid);
    for _ in 0..1000 {
        if created.len() <= 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        created = links(pid);
    }
    for (fd, link) in &created {
        assert!(*fd <= 2 || link.starts_with("socket:"), "{created:?}");
    }
    assert_eq!(created.len(), 4, "stdio and the start socket: {created:?}");
    assert!(
        created
            .iter()
            .all(|(fd, _)| *fd as i32 != loose.as_raw_fd())
    );
    bench.quiet(&["start", &id]);
    let running = links(pid);
    assert_eq!(running.len(), 3, "{running:?}");
    let (_, said) = text(&bench.call(&["exec", &id, "ls", "/proc/self/fd"]));
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "{said}"
    );
}

#[test]
fn exec_joins_the_container() {
    let Some(mut bench) = bench("exec") else {
        return;
    };
    let id = bench.id("exec");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let exec = |args: &[&str]| text(&bench.call(&[&["exec"], args].concat()));
    let (status, said) = exec(&[
        "--user",
        "5:6",
        "--cwd",
        "/tmp",
        "--env",
        "A=b",
        &id,
        "sh",
        "-c",
        "id; pwd; echo $A; hostname; grep -E 'CapPrm|Seccomp:|NoNew' /proc/self/status; exit 9",
    ]);
    assert_eq!(status, 9, "{said}");
    for expected in [
        "uid=5 gid=6",
        "/tmp\n",
        "b\n",
        "box",
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let (status, said) = exec(&[&id, "sh", "-c", "kill -9 $$"]);
    assert_eq!(status, 137, "{said}");
    for (args, expected) in [
        (vec!["--user", "root", id.as_str(), "id"], "as numbers"),
        (
            vec!["--cwd", "/nowhere", id.as_str(), "id"],
            "no such directory",
        ),
    ] {
        let (status, said) = exec(&args);
        assert!(status == 1 && said.contains(expected), "{args:?}: {said}");
    }
    assert_eq!(
        bench.status(&id),
        "running",
        "a failed exec leaves the container alone"
    );
    let (status, said) = exec(&["--tty", &id, "tty"]);
    assert!(status == 0 && said.contains("/dev/pts/0"), "{said}");
    bench.quiet(&["exec", "--detach", "--pid-file", "pid", &id, "sleep", "999"]);
    let pid = std::fs::read_to_string(bench.path("bundle/pid")).unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn a_command_that_does_not_execute_has_a_status() {
    let Some(mut bench) = bench("command") else {
        return;
    };
    for (name, content, mode) in [
        ("plain", "#!/bin/sh\n", 0o644),
        ("lost", "#!/no/interpreter\n", 0o755),
        ("garbage", "\u{1}\u{2}\u{3}", 0o755),
    ] {
        let path = bench.rootfs().join("bin").join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    // Looked up in vain, by a step that says so, or refused by the kernel.
    let cases = [
        (
            "/no/such/command",
            127,
            "find the program: exec \"/no/such/command\": no such file or directory in the",
        ),
        (
            "nope",
            127,
            "find the program: exec \"nope\": executable file not found in the container's PATH",
        ),
        (
            "/etc",
            126,
            "find the program: exec /etc: permission denied: is not a regular file",
        ),
        ("/bin/plain", 126, "execute bit"),
        (
            "lost",
            126,
            "orlop-runtime: exec /bin/lost: exists, but its interpreter",
        ),
        (
            "garbage",
            126,
            "orlop-runtime: exec /bin/garbage: is in no format",
        ),
    ];
    let id = bench.id("command");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    for (command, expected, why) in cases {
        for args in [vec!["exec", &id, command], vec!["exec", "-d", &id, command]] {
            let (status, said) = text(&bench.call(&args));
            let right = status == expected && said.contains(why);
            assert!(right, "{args:?}: {status} {said}");
        }
    }
    assert_eq!(bench.status(&id), "running");
    for (command, expected, _) in cases {
        let (status, said) = bench.args(&[command]).run();
        assert_eq!(status, expected, "run {command}: {said}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn a_terminal_of_its_own() {
    let Some(mut bench) = bench("tty") else {
        return;
    };
    bench.config["process"]["terminal"] = json!(true);
    bench.config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    let (status, said) =
        bench.sh("tty; stty size 2>/dev/null || /bin/busybox stty size; ls -l /dev/console");
    assert_eq!(status, 0, "{said}");
    for expected in ["/dev/pts/0", "33 77", "/dev/console"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let (status, said) = text(&bench.call(&["create", &bench.id("none")]));
    assert!(status == 1 && said.contains("--console-socket"), "{said}");
    bench.assert_nothing_left();
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(mut bench) = bench("failed") else {
        return;
    };
    let good = bench.config.clone();
    let cases = [
        (
            "/process/args",
            json!(["/no/such"]),
            "no such file or directory in the container",
        ),
        ("/process/args", json!(["sh\u{0}"]), "NUL"),
        ("/process/cwd", json!("/proc/no"), "no such directory"),
        ("/root/path", json!("elsewhere"), "elsewhere"),
        ("/mounts/0/type", json!("nofs"), "mount"),
        ("/mounts/2/options", json!(["bogus=1"]), "bogus"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 5, "hostID": BASE, "size": 9}]),
            "mapped",
        ),
        (
            "/linux/namespaces/3",
            json!({"type": "network", "path": "/nope"}),
            "/nope",
        ),
        (
            "/linux/seccomp/defaultAction",
            json!("SCMP_ACT_NOTIFY"),
            "NOTIFY",
        ),
        (
            "/linux/maskedPaths",
            json!(["/proc/self"]),
            "real directories",
        ),
    ];
    for (pointer, value, expected) in cases {
        bench.config = good.clone();
        *bench.config.pointer_mut(pointer).unwrap() = value;
        let (status, said) = text(&bench.call(&["create", &bench.id("failed")]));
        assert!(status == 1 && said.contains(expected), "{pointer}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        bench.assert_nothing_left();
    }
}

#[test]
fn a_program_that_cannot_execute_is_told_at_start() {
    let Some(mut bench) = bench("noexec") else {
        return;
    };
    let script = bench.rootfs().join("bin/script");
    std::fs::write(&script, "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    bench.args(&["script"]);
    let id = bench.id("noexec");
    bench.quiet(&["create", &id]);
    let (status, said) = text(&bench.call(&["start", &id]));
    assert!(status == 1 && said.contains("interpreter"), "{said}");
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
}

/// CVE-2019-5736: the file that the entering process runs from cannot be opened for writing.
#[test]
fn the_runtime_cannot_be_overwritten() {
    let Some(mut bench) = bench("selfexe") else {
        return;
    };
    let id = bench.id("exe");
    bench.args(&["sleep", "1000"]);
    // Without a user namespace only the mount protects it.
    bench.config["linux"]["uidMappings"] = json!([]);
    bench.config["linux"]["gidMappings"] = json!([]);
    bench.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    bench.quiet(&["create", &id]);
    let exe = format!("/proc/{}/exe", bench.pid(&id));
    let flags = rustix::fs::statvfs(exe.as_str()).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .open(&exe)
        .unwrap_err();
    let errno = opened.raw_os_error();
    assert!(errno == Some(30) || errno == Some(26), "{opened}");
}

#[test]
fn limits_without_a_controller_are_refused() {
    let Some(mut bench) = bench("limits") else {
        return;
    };
    let v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let has = v2.iter().any(|at| {
        std::fs::read_to_string(format!("{at}/cgroup.controllers"))
            .is_ok_and(|c| c.contains("memory"))
    });
    bench.config["linux"]["resources"] = json!({ "memory": { "limit": 67108864 } });
    let (status, said) = bench.sh("exit 4");
    if has {
        // A container around this may keep the controller from being passed on.
        assert!(status == 4 || said.contains("memory.limit"), "{said}");
    } else {
        eprintln!("this machine has no cgroup v2 memory controller: only the refusal is tested");
        assert!(status == 1 && said.contains("memory.limit"), "{said}");
    }
    bench.assert_nothing_left();
}

/// Fewer where ORLOP_TESTS_ROUNDS says so: an emulated machine takes minutes for them.
#[test]
fn three_hundred_runs_in_a_row() {
    let Some(mut bench) = bench("soak") else {
        return;
    };
    bench.args(&["sh", "-c", "exit 5"]);
    for index in 0..rounds(300) {
        let (status, said) = bench.run();
        assert_eq!(status, 5, "run {index}: {said}");
    }
    bench.assert_nothing_left();
}
