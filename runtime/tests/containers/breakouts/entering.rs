//! What a process that enters a container is, and what it carries: CVE-2016-9962 (others there
//! look into it), CVE-2022-29162 (inheritable capabilities), CVE-2024-21626 (descriptors of the
//! host, and a working directory outside).

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Bench, bench, rounds, text, until};

use super::{capabilities, probe, without_user_namespace};

/// The command as a child of `setpriv`, which changes what it is born with.
fn with_privileges(options: &[&str], command: &Command) -> Command {
    let mut with = Command::new("setpriv");
    with.args(options).arg(command.get_program());
    with.args(command.get_args()).stdin(Stdio::null());
    with.current_dir(command.get_current_dir().unwrap());
    with
}

/// The command with the host's root directory as its descriptor `number`, left open.
fn with_host_root(number: u32, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("exec {number}< /; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null());
    shell.current_dir(command.get_current_dir().unwrap());
    shell
}

fn started(bench: &mut Bench, id: &str) {
    bench.quiet(&["create", id]);
    bench.quiet(&["start", id]);
}

/// Everything that this process may have but one: with that nothing could be hidden from it.
pub fn all_but_ptrace() -> Vec<&'static str> {
    let mut all = vec![
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
    ];
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("CapEff"))
        .unwrap();
    let bits = u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
    if bits & 1 << 24 == 0 {
        all.retain(|name| *name != "CAP_SYS_RESOURCE");
    }
    all
}

/// CVE-2016-9962. The watcher is as privileged as the runtime, so nothing but its not being
/// dumpable hides a process that enters; and it looks from the moment when that is there.
/// ORLOP_TESTS_ROUNDS makes the times that it may look fewer.
#[test]
fn nobody_inside_looks_into_what_enters() {
    let Some(mut bench) = bench("watched") else {
        return;
    };
    let id = bench.id("watched");
    without_user_namespace(&mut bench);
    bench.config["linux"]["seccomp"] = json!(null);
    capabilities(&mut bench, &all_but_ptrace());
    probe::install(&mut bench, "watch");
    started(&mut bench, &id);
    until("somebody watches", || {
        bench.rootfs().join("watching").exists()
    });
    let without = ["--bounding-set", "-sys_ptrace"];
    for _ in 0..rounds(100) {
        let command = bench.command(&["exec", &id, "true"]);
        let (status, said) = text(&with_privileges(&without, &command).output().unwrap());
        assert_eq!((status, &*said), (0, ""));
    }
    // One that joins its processes is seen by them too.
    let target = bench.pid(&id);
    let other = bench.id("joins");
    let kinds =
        json!([{"type": "mount"}, {"type": "pid", "path": format!("/proc/{target}/ns/pid")}]);
    bench.config["linux"]["namespaces"] = kinds;
    bench.config.as_object_mut().unwrap().remove("hostname");
    bench.args(&["true"]);
    for _ in 0..rounds(50) {
        let command = bench.command(&["run", &other]);
        let (status, said) = text(&with_privileges(&without, &command).output().unwrap());
        assert_eq!((status, &*said), (0, ""));
    }
    let seen = std::fs::read_to_string(bench.rootfs().join("seen"));
    assert!(seen.is_err(), "the watcher saw into {}", seen.unwrap());
    std::fs::write(bench.rootfs().join("stop"), "").unwrap();
    bench.wait_for(&id, "stopped");
    bench.quiet(&["delete", &id]);
    bench.assert_nothing_left();
}

/// Nobody looks into `create` and the helpers that it makes, either: those that join somebody
/// else's user namespace are seen from there, and have the memory of the host's command. Its
/// hook is as privileged as `create`, but for ptrace, and looks into its parent.
#[test]
fn nobody_looks_into_create() {
    let Some(mut bench) = bench("looked") else {
        return;
    };
    let seen = bench.path("seen");
    let look = |of: &str| format!("readlink /proc/{of}/exe; echo $? >> {}", seen.display());
    let script = format!("{}; {}", look("self"), look("$PPID"));
    bench.config["hooks"] = json!({ "prestart": [{
        "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"],
    }] });
    let id = bench.id("looked");
    let run = with_privileges(
        &["--bounding-set", "-sys_ptrace"],
        &bench.command(&["run", &id]),
    )
    .output();
    assert_eq!(text(&run.unwrap()), (0, String::new()));
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "0\n1\n");
    bench.assert_nothing_left();
}

/// CVE-2022-29162. Whatever the caller has, and for whomever it is.
#[test]
fn no_capability_is_inherited() {
    let Some(mut bench) = bench("inheritable") else {
        return;
    };
    let id = bench.id("inheritable");
    let caller = ["--inh-caps", "+chown,+kill"];
    let show = ["grep", "CapInh", "/proc/self/status"];
    let none = (0, "CapInh:\t0000000000000000\n".to_owned());
    bench.args(&show);
    let run = bench.command(&["run", &id]);
    assert_eq!(
        text(&with_privileges(&caller, &run).output().unwrap()),
        none
    );
    bench.args(&["sleep", "1000"]);
    started(&mut bench, &id);
    let mut process = bench.config["process"].clone();
    process["args"] = json!(show);
    std::fs::write(bench.path("bundle/process.json"), process.to_string()).unwrap();
    for args in [
        [&["exec", &id][..], &show].concat(),
        [&["exec", "--user", "5", &id][..], &show].concat(),
        vec!["exec", "--process", "process.json", &id],
    ] {
        let exec = with_privileges(&caller, &bench.command(&args)).output();
        assert_eq!(text(&exec.unwrap()), none, "{args:?}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// CVE-2024-21626. A descriptor that the caller left open is closed; one that it hands over is
/// no directory to begin in.
#[test]
fn no_descriptor_leads_out() {
    let Some(mut bench) = bench("leaky") else {
        return;
    };
    let id = bench.id("leaky");
    let expect = |command: &Command, number, expected: &str| {
        let (status, said) = text(&with_host_root(number, command).output().unwrap());
        let right = status != 0 && said.contains(expected);
        assert!(right, "{command:?}: {status} {said}");
    };
    for user in [true, false] {
        if !user {
            without_user_namespace(&mut bench);
        }
        for (cwd, expected) in [
            ("/proc/self/fd/9", "no such directory"),
            ("/proc/self/fd/9/etc", "no such directory"),
            ("/proc/thread-self/fd/9", "no such directory"),
        ] {
            bench.config["process"]["cwd"] = json!(cwd);
            expect(&bench.command(&["run", &id]), 9, expected);
        }
        bench.config["process"]["cwd"] = json!("/proc/self/fd/3");
        let outside = "outside of the container's root";
        expect(
            &bench.command(&["run", "--preserve-fds", "1", &id]),
            3,
            outside,
        );
        bench.config["process"]["cwd"] = json!("/");
        bench.args(&["/proc/self/fd/9/bin/sh"]);
        expect(&bench.command(&["run", &id]), 9, "no such file");
        bench.args(&["sleep", "1000"]);
        started(&mut bench, &id);
        let leak = ["exec", "--cwd", "/proc/self/fd/9", &id, "true"];
        expect(&bench.command(&leak), 9, "no such directory");
        let program = ["exec", &id, "/proc/self/fd/9/bin/sh"];
        expect(&bench.command(&program), 9, "no such file");
        let handed = [
            "exec",
            "--preserve-fds",
            "1",
            "--cwd",
            "/proc/self/fd/3",
            &id,
            "true",
        ];
        expect(&bench.command(&handed), 3, outside);
        bench.quiet(&["delete", "--force", &id]);
        bench.args(&["true"]);
    }
    bench.assert_nothing_left();
}
