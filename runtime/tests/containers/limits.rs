//! Limits that hold, on a machine with every cgroup v2 controller. Elsewhere these tests say
//! that they have nothing to test, unless ORLOP_TESTS_CONTROLLERS demands them.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bench, bench, started, text, uncontrolled};

/// A bench whose containers see their cgroup.
fn controlled(name: &str) -> Option<Bench> {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let controllers = controllers.unwrap_or_default();
    let missing: Vec<_> = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| !controllers.split_ascii_whitespace().any(|has| has == *name))
        .collect();
    if !missing.is_empty() {
        uncontrolled(&format!(
            "this machine has no cgroup v2 controllers {missing:?}"
        ));
        return None;
    }
    let mut bench = bench(name)?;
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"]
    }));
    Some(bench)
}

fn limit(bench: &mut Bench, resources: Value) {
    bench.config["linux"]["resources"] = resources;
}

/// The number of some disk of the machine.
fn disk() -> (u64, u64) {
    let disks = std::fs::read_dir("/sys/block").unwrap();
    let number = disks
        .filter_map(|disk| std::fs::read_to_string(disk.unwrap().path().join("dev")).ok())
        .next()
        .unwrap();
    let (major, minor) = number.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn every_limit_is_in_its_file() {
    let Some(mut bench) = controlled("files") else {
        return;
    };
    let (major, minor) = disk();
    limit(
        &mut bench,
        json!({
            "memory": { "limit": 67_108_864, "reservation": 33_554_432, "swap": 100_663_296 },
            "cpu": {
                "shares": 2048, "quota": 50_000, "period": 200_000, "burst": 10_000,
                "cpus": "0", "mems": "0"
            },
            "pids": { "limit": 9 },
            "blockIO": {
                "throttleReadBpsDevice": [{ "major": major, "minor": minor, "rate": 1_048_576 }],
                "throttleWriteIOPSDevice": [{ "major": major, "minor": minor, "rate": 77 }]
            },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }],
            "unified": {
                "memory.high": "60000000", "cgroup.max.depth": "3",
                "io.max": format!("{major}:{minor} wbps=2097152\n{major}:{minor} riops=88\n")
            }
        }),
    );
    let (status, said) = bench.sh(
        "cd /sys/fs/cgroup; grep . memory.max memory.low memory.high memory.swap.max cpu.weight \
         cpu.max cpu.max.burst cpuset.cpus cpuset.mems pids.max io.max hugetlb.2MB.max \
         hugetlb.2MB.rsvd.max cgroup.max.depth; grep Cpus_allowed_list /proc/self/status",
    );
    let expected = format!(
        "memory.max:67108864\nmemory.low:33554432\nmemory.high:59998208\n\
         memory.swap.max:33554432\ncpu.weight:174\ncpu.max:50000 200000\ncpu.max.burst:10000\n\
         cpuset.cpus:0\ncpuset.mems:0\npids.max:9\n\
         io.max:{major}:{minor} rbps=1048576 wbps=2097152 riops=88 wiops=77\n\
         hugetlb.2MB.max:4194304\nhugetlb.2MB.rsvd.max:4194304\ncgroup.max.depth:3\n\
         Cpus_allowed_list:\t0\n"
    );
    assert_eq!((status, said), (0, expected));
    bench.assert_nothing_left();
    // The kernel takes no weight beside it.
    limit(&mut bench, json!({ "cpu": { "idle": 1 } }));
    assert_eq!(
        bench.sh("cat /sys/fs/cgroup/cpu.idle"),
        (0, "1\n".to_owned())
    );
    bench.assert_nothing_left();
}

#[test]
fn what_takes_too_much_is_stopped() {
    let Some(mut bench) = controlled("stopped") else {
        return;
    };
    limit(&mut bench, json!({ "memory": { "limit": 25_165_824 } }));
    let (status, said) = bench.sh("exec cat /dev/zero | grep -c nothing");
    assert_eq!(status, 137, "grep keeps the whole line: {said}");
    bench.assert_nothing_left();

    limit(&mut bench, json!({ "pids": { "limit": 3 } }));
    let (status, said) = bench.sh("for i in 1 2 3 4; do sleep 1 & done; wait");
    assert!(status == 2 && said.contains("can't fork"), "{said}");
    bench.assert_nothing_left();
    // That is a limit too: for no process but its own.
    limit(&mut bench, json!({ "pids": { "limit": 0 } }));
    assert_eq!(bench.args(&["true"]).run(), (0, String::new()));
    let (status, said) = bench.sh("sleep 1 & wait");
    assert!(status == 2 && said.contains("can't fork"), "{said}");
    bench.assert_nothing_left();

    limit(
        &mut bench,
        json!({ "cpu": { "quota": 5000, "period": 100_000 } }),
    );
    let (status, said) = bench.sh(
        "while grep -q 'nr_throttled 0' /sys/fs/cgroup/cpu.stat; do :; done; \
         grep -c nr_throttled /sys/fs/cgroup/cpu.stat",
    );
    assert_eq!((status, &*said), (0, "1\n"));
    bench.assert_nothing_left();
}

/// As little as it may be: it runs, or the answer names the limit, and nothing waits or is left.
#[test]
fn too_little_memory_is_told() {
    let Some(mut bench) = controlled("little") else {
        return;
    };
    for bytes in [4096, 65_536, 262_144, 1_048_576, 4_194_304] {
        limit(&mut bench, json!({ "memory": { "limit": bytes } }));
        let (status, said) = bench.args(&["true"]).run();
        assert!(
            status == 0 || status == 137 || (status == 1 && said.contains("memory.limit")),
            "{bytes}: {status} {said}"
        );
        if bytes == 4_194_304 {
            assert_eq!(status, 0, "{said}");
        }
        bench.assert_nothing_left();
    }
}

#[test]
fn limits_change_and_use_is_told() {
    let Some(mut bench) = controlled("change") else {
        return;
    };
    let id = bench.id("change");
    limit(
        &mut bench,
        json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 30 } }),
    );
    started(&mut bench, &id);
    let cgroup = bench.cgroup(&id).unwrap();
    let held = |file: &str| std::fs::read_to_string(cgroup.join(file)).unwrap();
    let change = [
        "update",
        "--memory",
        "32m",
        "--pids-limit",
        "20",
        "--cpu-quota",
        "30000",
    ];
    bench.quiet(&[&change[..], &["--cpuset-cpus", "0", &id]].concat());
    assert_eq!(held("memory.max"), "33554432\n");
    assert_eq!(held("pids.max"), "20\n");
    assert_eq!(held("cpu.max"), "30000 100000\n");
    assert_eq!(held("cpuset.cpus"), "0\n");
    let (status, said) = text(&bench.call(&["events", "--stats", &id]));
    assert_eq!(status, 0, "{said}");
    let stats: Value = serde_json::from_str(&said).unwrap();
    let data = &stats["data"];
    assert_eq!(data["pids"]["current"], 1, "{said}");
    assert_eq!(data["pids"]["limit"], 20, "{said}");
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432, "{said}");
    assert!(
        data["memory"]["usage"]["usage"].as_u64() > Some(0),
        "{said}"
    );
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// A controller that is passed on to a cgroup of another name than the machine's own.
#[test]
fn controllers_reach_a_cgroup_below_others() {
    let Some(mut bench) = controlled("below") else {
        return;
    };
    let id = bench.id("below");
    let path = format!("/{id}/deeper/{id}");
    bench.config["linux"]["cgroupsPath"] = json!(path);
    limit(&mut bench, json!({ "memory": { "limit": 67_108_864 } }));
    let (status, said) = bench.sh("cat /sys/fs/cgroup/memory.max");
    assert_eq!((status, &*said), (0, "67108864\n"));
    // What lies above it was made on the way, and another container may be in it by now.
    let above = Path::new("/sys/fs/cgroup").join(&id);
    assert!(!above.join("deeper").join(&id).exists());
    let _ = std::fs::remove_dir(above.join("deeper"));
    let _ = std::fs::remove_dir(above);
    bench.assert_nothing_left();
}
