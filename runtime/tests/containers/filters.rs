//! What of the runtime's own calls the container's seccomp filter sees.

use serde_json::{Value, json};

use crate::support::{bench, text};

fn killing(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_KILL_PROCESS" }]
    })
}

/// With no-new-privileges: execve, and nothing else.
#[test]
fn only_execve_has_to_pass() {
    let Some(mut bench) = bench("onlyexecve") else {
        return;
    };
    let id = bench.id("only");
    // Calls of ours, none of which a static busybox makes to do nothing.
    bench.config["linux"]["seccomp"] = killing(&[
        "rt_sigaction",
        "rt_sigprocmask",
        "close_range",
        "capset",
        "setresuid",
        "sendto",
        "recvmsg",
        "chdir",
        "umask",
    ]);
    bench.args(&["true"]);
    assert_eq!(bench.run(), (0, String::new()));
    bench.config["linux"]["seccomp"] = killing(&["close_range"]);
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let (status, said) = text(&bench.call(&["exec", &id, "sh", "-c", "exit 7"]));
    assert_eq!((status, &*said), (7, ""));
    bench.quiet(&["delete", "--force", &id]);
    // Nor does the kernel let it be replaced by a program.
    bench.config["linux"]["seccomp"] = killing(&["execve"]);
    bench.args(&["true"]);
    assert_eq!(bench.run().0, 128 + 31);
    bench.assert_nothing_left();
}

/// Without, the filter has to be there while privileges are given up.
#[test]
fn what_it_kills_is_told() {
    let Some(mut bench) = bench("sigsys") else {
        return;
    };
    bench.config["process"]["noNewPrivileges"] = json!(false);
    for name in ["setresuid", "capset"] {
        bench.config["linux"]["seccomp"] = killing(&[name]);
        let (status, said) = text(&bench.call(&["create", &bench.id("sigsys")]));
        let told = said.contains("the seccomp profile kills a call") && said.contains("SIGSYS");
        assert!(status == 1 && told, "{name}: {status} {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        bench.assert_nothing_left();
    }
}

/// Without no-new-privileges the filter is there early. A profile may be older than some calls
/// and allow all that its program makes.
#[test]
fn a_profile_need_not_know_our_calls() {
    let Some(mut bench) = bench("oldprofile") else {
        return;
    };
    let id = bench.id("old");
    bench.config["process"]["noNewPrivileges"] = json!(false);
    let newer = [
        "close_range",
        "faccessat2",
        "openat2",
        "open_tree",
        "clone3",
    ];
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        // Whether a file may be executed is asked with the newest call there is for it.
        let names = newer.map(|name| match (name, action) {
            ("faccessat2", "SCMP_ACT_KILL_PROCESS") => "close_range",
            (name, _) => name,
        });
        bench.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": names, "action": action }]
        });
        bench.args(&["true"]);
        assert_eq!(bench.run(), (0, String::new()), "{action}");
        bench.args(&["sleep", "1000"]);
        bench.quiet(&["create", &id]);
        bench.quiet(&["start", &id]);
        let (status, said) = text(&bench.call(&["exec", &id, "sh", "-c", "exit 7"]));
        assert_eq!((status, &*said), (7, ""), "{action}");
        bench.quiet(&["delete", "--force", &id]);
    }
    bench.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["faccessat2"], "action": "SCMP_ACT_ERRNO" }]
    });
    bench.args(&["/etc/plain"]);
    std::fs::write(bench.rootfs().join("etc/plain"), "").unwrap();
    let (status, said) = text(&bench.call(&["create", &id]));
    assert!(
        status == 1 && said.contains("permission denied"),
        "{status} {said}"
    );
    bench.assert_nothing_left();
}
