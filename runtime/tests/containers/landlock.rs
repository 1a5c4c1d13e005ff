//! What Landlock forbids in containers, by the annotation's default and by rulesets.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use orlop_sys::seccomp::{Insn, install};
use rustix::fs::{CWD, FileType, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::breakouts::{probe, without_user_namespace};
use crate::support::{Bench, bench, refused, skipped, started, text};

const KEY: &str = "org.orlop.landlock";

/// `None`, with a line that says so, on a kernel whose Landlock cannot carry the default; else
/// the version of that, too.
fn locked(name: &str) -> Option<(Bench, u32)> {
    match orlop_sys::landlock::abi() {
        Ok(abi) if abi >= 2 => Some((bench(name)?, abi)),
        has => {
            skipped(&format!(
                "Landlock of ABI 2 is wanted, this kernel: {has:?}"
            ));
            None
        }
    }
}

fn annotate(bench: &mut Bench, value: &str) {
    bench.config["annotations"] = json!({ KEY: value });
}

/// With capabilities for it, and no filter in the way.
fn powerful(bench: &mut Bench) {
    let caps = json!([
        "CAP_DAC_OVERRIDE",
        "CAP_MKNOD",
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE"
    ]);
    for set in ["bounding", "effective", "permitted"] {
        bench.config["process"]["capabilities"][set] = caps.clone();
    }
    bench.config["linux"]["seccomp"] = Value::Null;
}

#[test]
fn no_device_nodes_are_made() {
    let Some((mut bench, _)) = locked("nodes") else {
        return;
    };
    powerful(&mut bench);
    without_user_namespace(&mut bench);
    let make = "busybox mknod /made c 1 3; busybox mknod /disk b 7 250";
    let denied = |name: &str| format!("mknod: /{name}: Permission denied\n");
    let (_, said) = bench.sh(make);
    // A machine's own rules on devices may allow no other than the usual ones.
    assert!(!said.contains("Permission denied"), "{said}");
    let made = bench.rootfs().join("made");
    let kind = rustix::fs::stat(&made).unwrap().st_mode;
    assert_eq!(FileType::from_raw_mode(kind), FileType::CharacterDevice);
    std::fs::remove_file(made).unwrap();
    let _ = std::fs::remove_file(bench.rootfs().join("disk"));
    annotate(&mut bench, "default");
    let (_, said) = bench.sh(make);
    assert_eq!(said, format!("{}{}", denied("made"), denied("disk")));
    let (status, said) = bench.sh("busybox mkfifo /tmp/fifo && test -p /tmp/fifo");
    assert_eq!(status, 0, "{said}");
    bench.assert_nothing_left();
}

#[test]
fn mounts_stay_as_they_are() {
    let Some((mut bench, _)) = locked("mounts") else {
        return;
    };
    powerful(&mut bench);
    let calls = "mount -t tmpfs none /tmp 2>&-; echo $?; busybox umount /dev/pts 2>&-; echo $?; \
                 grep CapEff /proc/self/status";
    let caps = "CapEff:\t0000000008280002\n";
    assert_eq!(bench.sh(calls).1, format!("0\n0\n{caps}"));
    annotate(&mut bench, "default");
    assert_eq!(bench.sh(calls).1, format!("1\n1\n{caps}"));
    bench.assert_nothing_left();
}

/// Renames and links from one directory to another, stdio opened again, signals, and a look at
/// the first process.
#[test]
fn what_people_do_goes_on() {
    let Some((mut bench, _)) = locked("usual") else {
        return;
    };
    annotate(&mut bench, "default");
    let tmpfs = json!({"destination": "/tmp", "type": "tmpfs", "options": ["mode=1777"]});
    bench.config["mounts"].as_array_mut().unwrap().push(tmpfs);
    // As the manager gives one: it is beneath no container's root.
    let path = bench.path("output");
    mkfifoat(CWD, &path, Mode::empty()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path);
    let mut fifo = fifo.unwrap();
    // A file that was copied instead would have no other name.
    let moves = "mkdir IN/a IN/b; echo x >IN/a/f; busybox ln IN/a/f IN/b/g; busybox mv IN/a/f \
                 IN/b/f; test $(stat -c %h IN/b/f) = 2;";
    let script = format!(
        "set -e; {} {} echo told >/dev/stdout; busybox kill -0 1; cat /proc/1/environ >/dev/null; \
         (echo all >/proc/1/fd/1)",
        moves.replace("IN", ""),
        moves.replace("IN", "/tmp"),
    );
    bench.args(&["sh", "-c", &script]);
    let log = std::fs::File::create(bench.path("stderr")).unwrap();
    let mut run = bench.command(&["run", &bench.id("run")]);
    run.stdout(fifo.try_clone().unwrap()).stderr(log);
    let status = run.status().unwrap();
    let said = std::fs::read_to_string(bench.path("stderr")).unwrap();
    assert!(status.success(), "{said}");
    let mut told = [0; 9];
    fifo.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"told\nall\n");
    bench.assert_nothing_left();
}

/// Starts a container whose process looks into the one that `exec` makes, and says how both saw
/// each other: the container the other, the other the container, and whether that can mount.
fn looks(bench: &mut Bench) -> (String, String) {
    let id = bench.id("looks");
    let _ = std::fs::remove_file(bench.rootfs().join("seen"));
    let watch = "until test -s /pid; do sleep 0.02; done; \
                 cat /proc/$(cat /pid)/environ >/dev/null 2>&1; echo $? >/made; \
                 busybox mv /made /seen; exec sleep 1000";
    bench.args(&["sh", "-c", watch]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let look = "cat /proc/1/environ >/dev/null && echo x >/proc/1/fd/1 && echo saw; \
                mount -t tmpfs none /tmp && echo mounted";
    let (_, further) = text(&bench.call(&["exec", &id, "sh", "-c", look]));
    let stay = "echo $$ >/made.pid; busybox mv /made.pid /pid; exec sleep 1000";
    bench.quiet(&["exec", "--detach", &id, "sh", "-c", stay]);
    let began = Instant::now();
    let first = loop {
        if let Ok(seen) = std::fs::read_to_string(bench.rootfs().join("seen")) {
            break seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::sleep(Duration::from_millis(10));
    };
    bench.quiet(&["delete", "--force", &id]);
    std::fs::remove_file(bench.rootfs().join("pid")).unwrap();
    (first, further)
}

/// With the default, it sees all and is seen by nobody in there; with a ruleset both are
/// restricted, and strangers.
#[test]
fn what_exec_makes_stands_outside_of_the_default() {
    let Some((mut bench, _)) = locked("beside") else {
        return;
    };
    powerful(&mut bench);
    let all = || "saw\nmounted\n".to_owned();
    assert_eq!(looks(&mut bench), ("0\n".to_owned(), all()));
    annotate(&mut bench, "default");
    assert_eq!(looks(&mut bench), ("1\n".to_owned(), all()));
    annotate(
        &mut bench,
        r#"{"ruleset": {"handledAccessFS": ["make_sock"]}}"#,
    );
    let (first, further) = looks(&mut bench);
    assert_eq!(first, "1\n");
    let neither = !further.contains("saw") && !further.contains("mounted");
    assert!(neither && further.contains("ermission denied"), "{further}");
    bench.assert_nothing_left();
}

/// May be read: the program, what it needs of /proc and /dev, and one file.
fn reading(paths: &[&str]) -> String {
    let paths = [&["/bin", "/dev", "/proc"], paths].concat();
    json!({
        "ruleset": {"handledAccessFS": ["read_file", "refer"]},
        "rules": {"pathBeneath": [
            // Of a file that is no directory, refer means nothing.
            {"allowedAccess": ["read_file", "refer"], "paths": paths},
        ]},
    })
    .to_string()
}

#[test]
fn a_ruleset_allows_one_and_denies_another() {
    let Some((mut bench, _)) = locked("paths") else {
        return;
    };
    for name in ["open", "shut"] {
        std::fs::write(bench.rootfs().join(name), format!("{name}\n")).unwrap();
    }
    std::os::unix::fs::symlink("open", bench.rootfs().join("linked")).unwrap();
    annotate(&mut bench, &reading(&["/linked"]));
    let both = "cat /open; cat /shut";
    let expected = "open\ncat: can't open '/shut': Permission denied\n";
    assert_eq!(bench.sh(both).1, expected);
    // Whoever the process is, with and without new privileges, and whatever the filter allows.
    bench.config["process"]["noNewPrivileges"] = json!(false);
    bench.config["process"]["user"] = json!({"uid": 1000, "gid": 7});
    let calls = [
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ];
    bench.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": calls, "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    assert_eq!(bench.sh(both).1, expected);
    let id = bench.id("paths");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let exec = || text(&bench.call(&["exec", &id, "sh", "-c", both])).1;
    assert_eq!(exec(), expected);
    // It would else be the container's to say whether anything can be executed there.
    let linked = bench.rootfs().join("linked");
    std::fs::remove_file(&linked).unwrap();
    let denied = |name: &str| format!("cat: can't open '/{name}': Permission denied\n");
    let neither = format!("{}{}", denied("open"), denied("shut"));
    assert_eq!(exec(), neither);
    for target in ["linked", &"x".repeat(300)] {
        std::os::unix::fs::symlink(target, &linked).unwrap();
        assert_eq!(exec(), neither, "{target}");
        std::fs::remove_file(&linked).unwrap();
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// What a path cannot say, a link does: the container's stdout is a file of the host's.
#[test]
fn a_ruleset_names_stdout() {
    let Some((mut bench, _)) = locked("stdout") else {
        return;
    };
    let ruleset = |paths: &[&str]| {
        let rule = json!({"allowedAccess": ["write_file"], "paths": paths});
        json!({
            "ruleset": {"handledAccessFS": ["write_file"]}, "rules": {"pathBeneath": [rule]},
        })
        .to_string()
    };
    let into = bench.path("output");
    std::fs::write(&into, "").unwrap();
    std::fs::set_permissions(&into, PermissionsExt::from_mode(0o666)).unwrap();
    bench.args(&["sh", "-c", "echo told >/dev/stdout"]);
    for (paths, told) in [(&["/"][..], ""), (&["/", "/dev/stdout"], "told\n")] {
        annotate(&mut bench, &ruleset(paths));
        let file = std::fs::OpenOptions::new().write(true).open(&into).unwrap();
        let mut run = bench.command(&["run", &bench.id("run")]);
        let log = std::fs::File::create(bench.path("stderr")).unwrap();
        run.stdout(file).stderr(log).status().unwrap();
        assert_eq!(std::fs::read_to_string(&into).unwrap(), told, "{paths:?}");
    }
    // A pipe is on no file system that a rule could name, and nothing of it is denied.
    for paths in [&["/"][..], &["/", "/dev/stdout"]] {
        annotate(&mut bench, &ruleset(paths));
        let (mut output, pipe) = std::io::pipe().unwrap();
        // Of whoever is not its owner, too.
        rustix::fs::fchmod(&pipe, Mode::from_raw_mode(0o666)).unwrap();
        let mut run = bench.command(&["run", &bench.id("run")]);
        let said = run.stdout(pipe).output().unwrap();
        // It holds the other end.
        drop(run);
        assert_eq!(text(&said), (0, String::new()), "{paths:?}");
        let mut told = String::new();
        output.read_to_string(&mut told).unwrap();
        assert_eq!(told, "told\n", "{paths:?}");
    }
    bench.args(&["sh", "-c", "echo told >&0"]);
    annotate(&mut bench, &ruleset(&["/", "/dev/stdin"]));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut run = bench.command(&["run", &bench.id("run")]);
    let output = run.stdin(OwnedFd::from(theirs)).output().unwrap();
    drop(run);
    assert_eq!(text(&output), (0, String::new()));
    let mut told = String::new();
    (&ours).read_to_string(&mut told).unwrap();
    assert_eq!(told, "told\n");
    bench.assert_nothing_left();
}

#[test]
fn a_ruleset_allows_one_port() {
    let Some((mut bench, abi)) = locked("ports") else {
        return;
    };
    let rule = json!({"allowedAccess": ["bind_tcp"], "ports": [8080]});
    let ruleset = json!({
        "ruleset": {"handledAccessNet": ["bind_tcp"]}, "rules": {"netPort": [rule]},
    });
    annotate(&mut bench, &ruleset.to_string());
    let (_, said) = bench.sh("for port in 8080 8081; do \
         (busybox nc -l -p $port -e true </dev/null 2>/tmp/$port || echo >/tmp/ended) & \
         until busybox nc 127.0.0.1 $port </dev/null 2>&- && echo $port open; do \
         test -e /tmp/ended && cat /tmp/$port && break; sleep 0.02; done; done");
    let expected = if abi >= 4 {
        "8080 open\nnc: bind: Permission denied\n".to_owned()
    } else {
        format!(
            "8080 open\n8081 open\norlop-runtime: warning: annotation org.orlop.landlock: this \
             kernel's Landlock (ABI {abi}) lacks bind_tcp (ABI 4)\n"
        )
    };
    assert_eq!(said, expected);
    bench.assert_nothing_left();
}

/// CVE-2020-15257: containerd's sockets were open to whoever shared the network namespace.
#[test]
fn abstract_sockets_of_the_host_are_out_of_reach() {
    let Some((mut bench, abi)) = locked("abstract") else {
        return;
    };
    let name = bench.id("socket");
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let kinds = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "network");
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    // Shown only to who owns the network namespace.
    mounts.retain(|mount| mount["type"] != "sysfs");
    probe::install(&mut bench, "connect");
    let env = bench.config["process"]["env"].as_array_mut().unwrap();
    env.push(json!(format!("{}={name}", probe::SOCKET)));
    let (_, said) = bench.run();
    assert!(said.contains("connect: Ok(())"), "{said}");
    let denied = if abi >= 6 {
        "Operation not permitted"
    } else {
        "connect: Ok(())"
    };
    annotate(&mut bench, "default");
    let (_, said) = bench.run();
    assert!(said.contains(denied), "{said}");
    // Not of what exec makes: that takes a ruleset which is written out.
    let (id, args) = (bench.id("beside"), bench.config["process"]["args"].clone());
    let program = args
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap());
    let exec: Vec<&str> = ["exec", &id].into_iter().chain(program).collect();
    let scoped = r#"{"ruleset": {"scoped": ["abstract_unix_socket"]}}"#;
    for (value, expected) in [("default", "connect: Ok(())"), (scoped, denied)] {
        annotate(&mut bench, value);
        started(&mut bench, &id);
        let (_, said) = text(&bench.call(&exec));
        assert!(said.contains(expected), "{value}: {said}");
        bench.quiet(&["delete", "--force", &id]);
    }
    bench.assert_nothing_left();
}

#[test]
fn a_wrong_annotation_is_refused() {
    let Some((mut bench, _)) = locked("wrong") else {
        return;
    };
    for (value, expected) in [
        (
            "defualt",
            "config.json: annotation org.orlop.landlock: expected \"default\"",
        ),
        (r#"{"rulset": {}}"#, "did you mean \"ruleset\"?"),
        (
            &reading(&["/nowhere"]),
            "annotation org.orlop.landlock: rules.pathBeneath[0].paths: /nowhere: no such file",
        ),
    ] {
        annotate(&mut bench, value);
        // Were it not, it would end by itself.
        refused(&bench, &["run", &bench.id("wrong")], expected);
    }
    bench.assert_nothing_left();
}

/// What a command says, and what it wrote to its log, where the kernel has no Landlock: so
/// far as it can tell.
fn without_landlock(bench: &Bench, args: &[&str]) -> (i32, String, String) {
    let log = bench.path("log");
    let _ = std::fs::remove_file(&log);
    let mut command = bench.command(&["--log", log.to_str().unwrap()]);
    command.args(args);
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    let number = 444; // landlock_create_ruleset, on all machines
    let program = [
        insn(0x20, 0, 0, 0),                // the call's number
        insn(0x15, 0, 1, number),           // is it this?
        insn(0x06, 0, 0, 0x0005_0000 | 38), // ENOSYS
        insn(0x06, 0, 0, 0x7fff_0000),      // allow
    ];
    // Threads have filters of their own, and pass them on to what they make.
    let output = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        install(&program, 0).unwrap();
        command.output().unwrap()
    });
    let (status, said) = text(&output.join().unwrap());
    let logged = std::fs::read_to_string(&log).unwrap_or_default();
    (status, said, logged)
}

#[test]
fn a_kernel_without_landlock_is_told() {
    let Some((mut bench, _)) = locked("kernel") else {
        return;
    };
    bench.args(&["sh", "-c", "exit 7"]);
    let id = bench.id("run");
    let run = ["run", &id];
    annotate(&mut bench, "default");
    let (status, said, logged) = without_landlock(&bench, &run);
    assert_eq!((status, &*said), (7, ""));
    let told = logged.contains("level=warning") && logged.contains("this kernel has no Landlock");
    assert!(told && logged.lines().count() == 1, "{logged}");
    // What exec makes is told of no more: a ruleset that was written out holds for it, too.
    annotate(
        &mut bench,
        r#"{"ruleset": {"handledAccessFS": ["make_sock"]}}"#,
    );
    started(&mut bench, &id);
    let exec = without_landlock(&bench, &["exec", &id, "true"]);
    assert_eq!(exec, (0, String::new(), String::new()));
    bench.quiet(&["delete", "--force", &id]);
    bench.args(&["sh", "-c", "exit 7"]);
    let strict = r#"{"ruleset": {"handledAccessFS": ["make_sock"]}, "disableBestEffort": true}"#;
    annotate(&mut bench, strict);
    let (status, said, logged) = without_landlock(&bench, &run);
    assert!(
        status == 1 && said.contains("this kernel has no Landlock"),
        "{said}"
    );
    assert!(logged.contains("level=error"), "{logged}");
    assert_eq!(bench.run().0, 7);
    bench.assert_nothing_left();
}
