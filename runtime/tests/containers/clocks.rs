//! Time namespaces: clocks of a container's own.

use serde_json::json;

use crate::support::{Bench, bench, skipped, text};

/// Seconds since the machine's boot, as the container sees it.
const UPTIME: &str = "cat /proc/uptime";

fn seconds(said: &str) -> f64 {
    let first = said.split_whitespace().next().unwrap_or_default();
    first.parse().unwrap_or_else(|_| panic!("{said}"))
}

fn uptime() -> f64 {
    seconds(&std::fs::read_to_string("/proc/uptime").unwrap())
}

fn add_namespace(bench: &mut Bench, namespace: serde_json::Value) {
    let namespaces = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(namespace);
}

/// A bench whose containers have a time namespace.
fn with_time(name: &str) -> Option<Bench> {
    let mut bench = bench(name)?;
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        skipped("this kernel has no time namespaces");
        return None;
    }
    add_namespace(&mut bench, json!({"type": "time"}));
    Some(bench)
}

#[test]
fn clocks_of_its_own() {
    let Some(mut bench) = with_time("clocks") else {
        return;
    };
    const DAY: f64 = 86_400.0;
    let near = |said: &str, expected: f64| {
        let seen = seconds(said);
        assert!(
            (seen - expected).abs() < DAY / 4.0,
            "{seen}, not {expected}"
        );
    };
    let (status, said) = bench.sh(UPTIME);
    assert_eq!(status, 0, "{said}");
    near(&said, uptime());
    bench.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 3 * 86_400}});
    let (status, said) = bench.sh(UPTIME);
    assert_eq!(status, 0, "{said}");
    near(&said, uptime() + 3.0 * DAY);

    // In the host's user namespace too, and whoever enters later sees the same.
    let linux = bench.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let id = bench.id("clocks");
    bench.args(&["sleep", "1000"]);
    bench.quiet(&["create", &id]);
    bench.quiet(&["start", &id]);
    let (status, said) = text(&bench.call(&["exec", &id, "cat", "/proc/uptime"]));
    assert_eq!(status, 0, "{said}");
    near(&said, uptime() + 3.0 * DAY);

    // Another container joins it by its path.
    let good = bench.config.clone();
    let path = format!("/proc/{}/ns/time", bench.pid(&id));
    let kinds = bench.config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "time");
    kinds.push(json!({"type": "time", "path": path}));
    bench.config["linux"]
        .as_object_mut()
        .unwrap()
        .remove("timeOffsets");
    let (status, said) = bench.sh(UPTIME);
    assert_eq!(status, 0, "{said}");
    near(&said, uptime() + 3.0 * DAY);
    bench.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
    let (status, said) = bench.run();
    assert!(
        status == 1 && said.contains("need a new time namespace"),
        "{said}"
    );
    bench.config = good;
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

#[test]
fn no_clock_before_its_beginning() {
    let Some(mut bench) = with_time("noclock") else {
        return;
    };
    bench.config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": -1_000_000_000_i64}});
    let (status, said) = bench.run();
    assert!(status == 1 && said.contains("linux.timeOffsets"), "{said}");
    assert!(said.contains("before its beginning"), "{said}");
    bench.assert_nothing_left();
}
