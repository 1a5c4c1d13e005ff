//! The device rules of a container's cgroup.

use serde_json::json;

use crate::support::{bench, skipped};

/// A node whose number no driver has: where rules let it be opened, there is no such device.
#[test]
fn device_rules_hold_from_the_first_instruction_on() {
    let Some(mut bench) = bench("devices") else {
        return;
    };
    if bench.cgroup("any").is_none() {
        return skipped("device rules need cgroup v2");
    }
    bench.config["linux"]["devices"] = json!([
        { "path": "/dev/none", "type": "c", "major": 240, "minor": 77, "fileMode": 438 }
    ]);
    let (_, said) = bench.args(&["cat", "/dev/none"]).run();
    assert!(said.contains("Operation not permitted"), "{said}");
    bench.config["linux"]["resources"]["devices"] =
        json!([{ "allow": true, "type": "c", "major": 240, "access": "r" }]);
    let (_, said) = bench.run();
    assert!(said.contains("No such device"), "{said}");
    bench.assert_nothing_left();
}

#[test]
fn directories_of_devices_are_the_containers() {
    let Some(mut bench) = bench("nodes") else {
        return;
    };
    bench.config["linux"]["devices"] =
        json!([{ "path": "/dev/a/b/null", "type": "c", "major": 1, "minor": 3 }]);
    let (status, said) = bench.sh("stat -c '%u:%g %F' /dev/a /dev/a/b /dev/a/b/null");
    let expected = "0:0 directory\n0:0 directory\n0:0 character special file\n";
    assert_eq!((status, said.as_str()), (0, expected));
    bench.assert_nothing_left();
}
