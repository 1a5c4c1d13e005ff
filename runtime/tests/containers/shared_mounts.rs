//! Containers that share somebody's mount namespace, and what their roots are then.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Bench, bench, refused, text};

fn namespace(pid: u64) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap()
}

fn without_user_namespace(bench: &mut Bench, mounts: Option<Value>) {
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let listed = linux["namespaces"].as_array_mut().unwrap();
    listed.retain(|one| one["type"] != "user" && one["type"] != "mount");
    listed.extend(mounts);
}

/// The root is the container's and has its mounts, for `exec` too, and nobody else sees them.
fn check(bench: &mut Bench, id: &str, namespace_of: u64) {
    let before = std::fs::read_to_string(format!("/proc/{namespace_of}/mountinfo")).unwrap();
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", id]);
    assert_eq!(namespace(bench.pid(id)), namespace(namespace_of));
    bench.quiet(&["start", id]);
    assert_eq!(namespace(bench.pid(id)), namespace(namespace_of));
    let now = std::fs::read_to_string(format!("/proc/{namespace_of}/mountinfo")).unwrap();
    assert_eq!(now, before);
    let script = "stat -c %F /dev/null; stat -f -c %T /proc /dev; cat /proc/1/cmdline; cd /..; ls -d /bin/busybox /usr";
    let (_, said) = text(&bench.call(&["exec", id, "sh", "-c", script]));
    for expected in [
        "character special file",
        "proc",
        "tmpfs",
        "sleep",
        "/bin/busybox",
        "/usr: No such file",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    bench.quiet(&["delete", "--force", id]);
}

#[test]
fn the_callers() {
    let Some(mut bench) = bench("hostmounts") else {
        return;
    };
    let id = bench.id("hostmounts");
    without_user_namespace(&mut bench, None);
    check(&mut bench, &id, u64::from(std::process::id()));
    bench.config["linux"]["rootfsPropagation"] = json!("shared");
    refused(
        &bench,
        &["create", &id],
        "needs a mount namespace of the container's own",
    );
    bench.assert_nothing_left();
}

#[test]
fn one_to_join() {
    let Some(mut bench) = bench("joinmounts") else {
        return;
    };
    let id = bench.id("joinmounts");
    let mut other = Command::new("unshare")
        .args(["--mount", "sh", "-c", "echo; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let pid = u64::from(other.id());
    let path = format!("/proc/{pid}/ns/mnt");
    without_user_namespace(&mut bench, Some(json!({ "type": "mount", "path": path })));
    check(&mut bench, &id, pid);
    other.kill().unwrap();
    other.wait().unwrap();
    bench.assert_nothing_left();
}
