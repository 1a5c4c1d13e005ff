//! What becomes of a container's bundle, or of whom it shares a namespace with, after `create`
//! changes nothing of it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::breakouts::without_user_namespace;
use crate::support::{Bench, bench, text};

/// The call after the bundle's config.json has become `content`, or has gone.
fn call_with(bench: &Bench, content: Option<&str>, args: &[&str]) -> Output {
    let mut command = bench.command(args);
    let path = bench.path("bundle/config.json");
    match content {
        Some(content) => std::fs::write(path, content).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
    command.output().unwrap()
}

#[test]
fn exec_is_as_config_json_was() {
    let Some(mut bench) = bench("kept") else {
        return;
    };
    let id = bench.id("kept");
    bench.config["process"]["env"] = json!(["PATH=/bin", "A=created"]);
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let mut other = bench.config.clone();
    other["process"]["env"] = json!(["PATH=/bin", "A=changed"]);
    other["process"]["user"] = json!({"uid": 9, "gid": 9});
    other["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    other["linux"]
        .as_object_mut()
        .unwrap()
        .remove("uidMappings");
    other["linux"]
        .as_object_mut()
        .unwrap()
        .remove("gidMappings");
    other.as_object_mut().unwrap().remove("hostname");
    let show = ["exec", &id, "sh", "-c", "echo $A $(id -u) $(hostname)"];
    for content in [Some(&*other.to_string()), Some("{"), None] {
        let (status, said) = text(&call_with(&bench, content, &show));
        assert_eq!((status, &*said), (0, "created 0 box\n"));
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// Whoever was named to join a namespace of, ends; the namespace lives on in the container.
#[test]
fn exec_needs_nobody_that_was_joined() {
    let Some(mut bench) = bench("joined") else {
        return;
    };
    let id = bench.id("joined");
    without_user_namespace(&mut bench);
    let mut sandbox = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let its_pid = sandbox.id().to_string();
    let began = Instant::now();
    while network(&its_pid) == network("self") {
        assert!(began.elapsed() < Duration::from_secs(60), "no namespace");
        std::thread::sleep(Duration::from_millis(5));
    }
    let kinds = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    for kind in kinds.iter_mut().filter(|kind| kind["type"] == "network") {
        kind["path"] = json!(format!("/proc/{its_pid}/ns/net"));
    }
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let expected = network(&its_pid);
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    assert!(!Path::new(&format!("/proc/{its_pid}")).exists());
    let show = ["exec", &id, "busybox", "readlink", "/proc/self/ns/net"];
    let (status, said) = text(&bench.call(&show));
    let right = status == 0 && said.trim_end() == expected.to_str().unwrap();
    assert!(right, "{status} {said}");
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
