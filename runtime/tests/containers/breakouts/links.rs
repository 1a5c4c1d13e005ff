//! Links in an image where directories should be: CVE-2023-27561, CVE-2023-28642,
//! CVE-2025-54867 (/proc and /sys) and CVE-2026-41579 (/dev).

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::bench;

use super::without_user_namespace;

/// What is below a directory: names, and what is in files.
pub fn tree(at: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            found.insert(name, target.to_str().unwrap().to_owned());
        } else if path.is_dir() {
            found.extend(tree(&path));
            found.insert(name, "a directory".into());
        } else {
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn proc_sys_and_dev_are_directories() {
    let Some(mut bench) = bench("links") else {
        return;
    };
    let victim = bench.path("victim");
    std::fs::create_dir_all(victim.join("pts")).unwrap();
    for name in ["ptmx", "fd", "console", "null", "cpuinfo"] {
        std::fs::write(victim.join(name), "the host's\n").unwrap();
    }
    let before = tree(&victim);
    bench.config["linux"]["devices"] =
        json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 3}]);
    let base = bench.config.clone();
    let up = format!("{}{}", "../".repeat(12), victim.display());
    let targets = [
        victim.to_str().unwrap(),
        &up,
        "/tmp",
        "tmp",
        "/proc/self/root/tmp",
    ];
    for user in [true, false] {
        bench.config = base.clone();
        if !user {
            without_user_namespace(&mut bench);
        }
        for name in ["proc", "sys", "dev"] {
            for target in targets {
                let at = bench.rootfs().join(name);
                std::fs::remove_dir(&at).unwrap();
                symlink(target, &at).unwrap();
                let (status, said) = bench.run();
                let refused = status == 1 && said.contains("must be real directories");
                assert!(refused, "{name} -> {target}: {status} {said}");
                assert_eq!(tree(&victim), before, "{name} -> {target}");
                std::fs::remove_file(&at).unwrap();
                std::fs::create_dir(&at).unwrap();
            }
        }
    }
    // Also where nothing in the configuration is mounted on it: the runtime's own /dev is.
    bench.config["mounts"] = json!([]);
    let at = bench.rootfs().join("dev");
    std::fs::remove_dir(&at).unwrap();
    symlink(&victim, &at).unwrap();
    let (status, said) = bench.run();
    let refused = status == 1 && said.contains("must be real directories");
    assert!(refused, "{status} {said}");
    assert_eq!(tree(&victim), before);
    bench.assert_nothing_left();
}

/// A mount on the root itself would be under what the container has as its root: asked for, and
/// not there. An image can have it so by a link.
#[test]
fn no_mount_goes_on_the_root() {
    let Some(mut bench) = bench("onroot") else {
        return;
    };
    symlink("/", bench.rootfs().join("data")).unwrap();
    symlink("bin/../..", bench.rootfs().join("up")).unwrap();
    let base = bench.config.clone();
    for destination in ["/", "/data", "/up"] {
        bench.config = base.clone();
        let mounts = bench.config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": destination, "type": "tmpfs"}));
        let (status, said) = bench.run();
        let refused = status == 1 && said.contains("the root itself");
        assert!(refused, "{destination}: {status} {said}");
    }
    bench.assert_nothing_left();
}
