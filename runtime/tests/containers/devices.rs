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

/// Wherever a device is asked for, it is there, or what hides it is named; and links of the
/// image's lead nowhere else.
#[test]
fn devices_outside_of_dev() {
    let Some(mut bench) = bench("outside") else {
        return;
    };
    let out = bench.path("out");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&out, bench.rootfs().join("out")).unwrap();
    let like_null = |path: &str| json!({ "path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 420, "gid": 5 });
    bench.config["linux"]["devices"] = json!([
        like_null("/a/b/null"),
        like_null("/out/null"),
        { "path": "/fifo", "type": "p" }
    ]);
    // Twice: the second finds the nodes of the first.
    for _ in 0..2 {
        let (status, said) = bench
            .sh("stat -c '%a %u:%g %F' /a/b /a/b/null /fifo; echo x >/a/b/null && cat /a/b/null");
        let expected = "755 0:0 directory\n644 0:5 character special file\n666 0:0 fifo\n";
        assert_eq!((status, said.as_str()), (0, expected));
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    bench.args(&["true"]);
    let mut refuses = |device: serde_json::Value, expected: &str| {
        bench.config["linux"]["devices"] = json!([device]);
        let (status, said) = bench.run();
        assert!(status == 1 && said.contains(expected), "{device}: {said}");
    };
    refuses(like_null("/proc/null"), "one of the mounts covers it");
    refuses(
        like_null("/bin/sh"),
        "something is there already that is no device",
    );
    refuses(like_null("/"), "names no file");
    refuses(like_null("null"), "not an absolute path");
    bench.assert_nothing_left();
}

/// Nothing is made in a /dev of the configuration's own, the host's perhaps: it has the device.
#[test]
fn devices_in_a_bound_dev() {
    let Some(mut bench) = bench("bounddev") else {
        return;
    };
    let dev = bench.path("dev");
    std::fs::create_dir(&dev).unwrap();
    let node = std::process::Command::new("mknod")
        .arg(dev.join("null"))
        .args(["c", "1", "3"])
        .status();
    assert!(node.unwrap().success());
    let mounts = bench.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    mounts.push(json!({ "destination": "/dev", "source": dev, "options": ["bind"] }));
    let device = |name: &str, minor: u32| json!([{ "path": format!("/dev/{name}"), "type": "c", "major": 1, "minor": minor }]);
    bench.config["linux"]["devices"] = device("null", 3);
    assert_eq!(bench.args(&["true"]).run(), (0, String::new()));
    for (name, minor) in [("null", 5), ("zero", 5)] {
        bench.config["linux"]["devices"] = device(name, minor);
        let expected = format!("1:{minor} on /dev/{name}: is not there: /dev is a mount");
        let (status, said) = bench.run();
        assert!(status == 1 && said.contains(&expected), "{name}: {said}");
    }
    assert_eq!(std::fs::read_dir(&dev).unwrap().count(), 1);
    bench.assert_nothing_left();
}
