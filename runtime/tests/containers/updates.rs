//! Limits that are changed while a container runs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};

use crate::support::{bench, refused, skipped, started, text};

/// A limit of huge pages is one that a machine has without controllers for processes.
#[test]
fn an_update_is_whole_or_not_at_all() {
    let Some(mut bench) = bench("update") else {
        return;
    };
    let id = bench.id("update");
    let Some(cgroup) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    started(&mut bench, &id);
    refused(&bench, &["update", &id], "nothing to update");
    refused(
        &bench,
        &["update", "--memory", "1x", &id],
        "number of bytes",
    );
    let both = ["update", "--memory", "1g", "-r", "x", &id];
    refused(&bench, &both, "beside --resources");
    let update = |resources: Value| {
        std::fs::write(bench.path("bundle/resources"), resources.to_string()).unwrap();
        text(&bench.call(&["update", "-r", "resources", &id]))
    };
    let (status, said) = update(json!({ "unified": { "cgroup.max.depth": "7" } }));
    assert_eq!(status, 0, "{said}");
    let held = |file: &str| std::fs::read_to_string(cgroup.join(file)).unwrap();
    assert_eq!(held("cgroup.max.depth"), "7\n");
    let (status, said) = update(json!({
        "unified": { "cgroup.max.depth": "9", "cgroup.max.descendants": "nonsense" }
    }));
    assert!(
        status == 1 && said.contains("cgroup.max.descendants"),
        "{said}"
    );
    assert_eq!(held("cgroup.max.depth"), "7\n", "put back");
    // Each line is a write.
    let (status, said) = update(json!({ "unified": { "cgroup.max.depth": "5\nnonsense" } }));
    assert!(status == 1 && said.contains("\"nonsense\""), "{said}");
    assert_eq!(held("cgroup.max.depth"), "7\n", "put back");
    let (status, said) = update(json!({ "unified": { "cgroup.max.depth": "5\n6\n" } }));
    assert_eq!((status, &*held("cgroup.max.depth")), (0, "6\n"), "{said}");
    let (status, said) = update(json!({ "unified": { "absent.max": "5" } }));
    assert!(
        status == 1 && said.contains("controller \"absent\""),
        "{said}"
    );
    let mut stdin = bench.command(&["update", "-r", "-", &id]);
    std::fs::write(
        bench.path("stdin"),
        r#"{"unified":{"cgroup.max.depth":"max"}}"#,
    )
    .unwrap();
    stdin.stdin(File::open(bench.path("stdin")).unwrap());
    assert!(stdin.status().unwrap().success());
    assert_eq!(held("cgroup.max.depth"), "max\n");
    if cgroup.join("hugetlb.2MB.max").exists() {
        let huge =
            |limit: i64| json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": limit }] });
        assert_eq!(update(huge(4 << 20)).0, 0);
        assert_eq!(held("hugetlb.2MB.max"), "4194304\n");
        let mut failing = huge(8 << 20);
        failing["unified"] = json!({ "cgroup.max.depth": "nonsense" });
        assert_eq!(update(failing).0, 1);
        assert_eq!(held("hugetlb.2MB.max"), "4194304\n", "put back");
        assert_eq!(update(huge(-1)).0, 0);
        assert_eq!(held("hugetlb.2MB.max"), "max\n");
        let reserved = "hugetlb.2MB.rsvd.max";
        assert!(!cgroup.join(reserved).exists() || held(reserved) == "max\n");
    }
    if !cgroup.join("pids.max").exists() {
        refused(&bench, &["update", "--pids-limit", "-1", &id], "pids.limit");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn what_belonged_to_cgroup_v1_is_ignored_aloud() {
    let Some(mut bench) = bench("kernel") else {
        return;
    };
    let id = bench.id("kernel");
    if bench.cgroup(&id).is_none() {
        return skipped("this machine has no cgroup v2");
    }
    started(&mut bench, &id);
    let kernel = ["update", "--kernel-memory", "64m", &id];
    let (status, said) = text(&bench.call(&kernel));
    assert!(status == 0 && said.contains("are ignored"), "{said}");
    let errors = [&["--log-level", "error"], &kernel[..]].concat();
    assert_eq!(text(&bench.call(&errors)), (0, String::new()));
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn an_update_replaces_the_device_rules() {
    let Some(mut bench) = bench("devices") else {
        return;
    };
    let id = bench.id("devices");
    let Some(_) = bench.cgroup(&id) else {
        return skipped("this machine has no cgroup v2");
    };
    // A number that no driver has, so that what is allowed fails otherwise.
    let node = bench.rootfs().join("probe");
    mknodat(
        CWD,
        &node,
        FileType::CharacterDevice,
        Mode::RWXU,
        makedev(240, 77),
    )
    .unwrap();
    std::fs::set_permissions(&node, PermissionsExt::from_mode(0o666)).unwrap();
    started(&mut bench, &id);
    let open = || text(&bench.call(&["exec", &id, "cat", "/probe"])).1;
    let (denied, absent) = ("not permitted", "No such device");
    assert!(open().contains(denied), "{}", open());
    let one = json!([{ "allow": true, "type": "c", "major": 240, "minor": 77, "access": "r" }]);
    for (rules, expected) in [
        (one.clone(), absent),
        (json!([{ "allow": false }]), denied),
        (json!([{ "allow": true }]), absent),
        (json!([{ "allow": true }]), absent),
        (json!([]), denied),
        (one, absent),
    ] {
        let resources = json!({ "devices": rules });
        std::fs::write(bench.path("bundle/resources"), resources.to_string()).unwrap();
        bench.quiet(&["update", "--resources", "resources", &id]);
        assert!(open().contains(expected), "{rules}: {}", open());
    }
    std::fs::write(
        bench.path("bundle/resources"),
        r#"{"devices":[{"allow":true,"access":"x"}]}"#,
    )
    .unwrap();
    refused(
        &bench,
        &["update", "--resources", "resources", &id],
        "devices[0]",
    );
    assert!(
        open().contains(absent),
        "an update that failed changes nothing"
    );
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
