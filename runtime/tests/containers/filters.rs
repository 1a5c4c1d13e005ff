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
