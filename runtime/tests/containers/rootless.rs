//! Containers of ordinary users: a user by himself, and root of a user namespace, as podman
//! starts a runtime for one.

mod delegated;
mod home;
mod means;

use std::path::Path;

use serde_json::json;

use crate::support::{skipped, text};
use home::{As, LENT, USER, home};

/// All of a container's life, in each way to begin it.
fn lives(who: As, name: &str) {
    let Some(home) = home(name, who) else {
        return;
    };
    let config = home.spec(&["sh", "-c", "id; cat /proc/self/uid_map; exit 7"]);
    let (status, said) = home.run(&config);
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("uid=0 gid=0"), "{said}");
    home.spec(&["sleep", "1000"]);
    let id = home.bench.id("life");
    home.quiet(&["create", "--pid-file", "pid", &id]);
    assert_eq!(home.state(&id)["status"], "created");
    let state = home.bench.path("run/orlop-runtime");
    assert!(state.join(&id).is_dir());
    let (status, said) = text(&home.call(&["exec", &id, "hostname"]));
    match who {
        As::NamespaceRoot => assert_eq!((status, &*said), (0, "container\n")),
        _ => assert!(status == 1 && said.contains("start it first"), "{said}"),
    }
    home.quiet(&["start", &id]);
    assert_eq!(home.state(&id)["status"], "running");
    let (status, said) = text(&home.call(&["exec", &id, "sh", "-c", "id; echo $PPID; exit 9"]));
    assert_eq!(status, 9, "{said}");
    // It has nobody above it there.
    assert!(
        said.contains("uid=0 gid=0") && said.ends_with("\n0\n"),
        "{said}"
    );
    home.quiet(&["exec", "--detach", &id, "sleep", "995"]);
    let (_, said) = text(&home.call(&["exec", "--tty", &id, "tty"]));
    assert!(said.contains("/dev/pts/0"), "{said}");
    let (_, list) = text(&home.call(&["list"]));
    assert!(list.contains(&id) && list.contains("running"), "{list}");
    home.quiet(&["kill", &id, "KILL"]);
    for _ in 0..1000 {
        if home.state(&id)["status"] == "stopped" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    home.quiet(&["delete", &id]);
    home.assert_nothing_left();
}

#[test]
fn a_users_containers_live() {
    lives(As::User, "user");
}

#[test]
fn those_of_a_namespaces_root_live() {
    lives(As::NamespaceRoot, "nsroot");
}

#[test]
fn those_of_one_without_mounts_of_its_own_live() {
    lives(As::Unmounted, "nomounts");
}

/// podman's own namespaces are the container's: then none is made, and none is mapped.
#[test]
fn a_namespaces_root_needs_no_further_one() {
    let Some(home) = home("nofurther", As::NamespaceRoot) else {
        return;
    };
    let mut config = home.spec(&["sh", "-c", "cat /proc/self/uid_map; id"]);
    let linux = config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let rules = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    linux.insert("resources".into(), rules);
    let (status, said) = home.run(&config);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains(&format!("{USER}          1")), "{said}");
    home.assert_nothing_left();
}

#[test]
fn a_user_needs_a_user_namespace() {
    let Some(home) = home("needs", As::User) else {
        return;
    };
    let config = home.spec(&["true"]);
    let mut without = config.clone();
    let linux = without["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.retain(|kind| kind["type"] != "user");
    let (status, said) = home.run(&without);
    assert!(
        status == 1 && said.contains("needs a user namespace"),
        "{said}"
    );
    let mut timed = config.clone();
    let kinds = timed["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.push(json!({ "type": "time" }));
    assert_eq!(
        home.run(&timed).0,
        0,
        "without offsets it is only a namespace"
    );
    timed["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 5 } });
    let (status, said) = home.run(&timed);
    assert!(status == 1 && said.contains("linux.timeOffsets"), "{said}");
    let mut mapped = config;
    mapped["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["rbind", "idmap"]
    }));
    let (status, said) = home.run(&mapped);
    assert!(
        status == 1 && said.contains("map the ids of a mount"),
        "{said}"
    );
    home.assert_nothing_left();
}

#[test]
fn ids_are_lent_by_newuidmap() {
    let helpers = ["newuidmap", "newgidmap"].map(|name| Path::new("/usr/bin").join(name));
    if !helpers.iter().all(|helper| helper.exists()) {
        return skipped("no newuidmap (Debian: uidmap)");
    }
    let Some(home) = home("lent", As::Lender) else {
        return;
    };
    let mut config = home.spec(&["sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id"]);
    let maps = |count: u32| {
        json!([{ "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": LENT, "size": count }])
    };
    config["linux"]["uidMappings"] = maps(65_536);
    config["linux"]["gidMappings"] = maps(65_536);
    config["process"]["user"] = json!({ "uid": 33, "gid": 34, "additionalGids": [35] });
    let (status, said) = home.run(&config);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("uid=33 gid=34 groups=35"), "{said}");
    assert_eq!(said.matches("700000      65536").count(), 2, "{said}");
    // Whoever runs in it has another id, and is reached all the same.
    let id = home.bench.id("lent");
    config["process"]["args"] = json!(["sleep", "1000"]);
    home.write(&config);
    home.quiet(&["run", "--detach", &id]);
    let (status, said) = text(&home.call(&["exec", &id, "id"]));
    assert!(status == 0 && said.contains("uid=33"), "{said}");
    home.quiet(&["delete", "--force", &id]);
    config["process"]["args"] = json!(["true"]);
    config["linux"]["uidMappings"] = maps(65_537);
    let (status, said) = home.run(&config);
    assert!(status == 1 && said.contains("newuidmap"), "{said}");
    assert!(
        said.contains("/etc/subuid") && said.contains("not allowed"),
        "{said}"
    );
    home.assert_nothing_left();
}

#[test]
fn a_missing_helper_is_named_with_its_package() {
    let Some(home) = home("helper", As::User) else {
        return;
    };
    let mut config = home.spec(&["true"]);
    config["linux"]["uidMappings"][0]["size"] = json!(2);
    home.write(&config);
    let mut command = home.command(&["run", &home.bench.id("run")]);
    let (status, said) = text(&command.env("PATH", "/nowhere").output().unwrap());
    assert!(status == 1 && said.contains("newuidmap"), "{said}");
    assert!(said.contains("the package is uidmap"), "{said}");
    home.assert_nothing_left();
}

/// A pod: the second container is in namespaces of the first.
#[test]
fn a_user_joins_his_containers_namespaces() {
    let Some(home) = home("pod", As::User) else {
        return;
    };
    let mut config = home.spec(&["sleep", "994"]);
    let kinds = config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.push(json!({ "type": "network" }));
    home.write(&config);
    let id = home.bench.id("first");
    home.quiet(&["run", "--detach", &id]);
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", home.state(&id)["pid"]);
    config["linux"]["namespaces"] = json!([
        { "type": "mount" }, { "type": "cgroup" },
        { "type": "pid", "path": path("pid") }, { "type": "user", "path": path("user") },
        { "type": "network", "path": path("net") }, { "type": "ipc", "path": path("ipc") },
        { "type": "uts", "path": path("uts") },
    ]);
    config.as_object_mut().unwrap().remove("hostname");
    config["process"]["oomScoreAdj"] = json!(999);
    config["process"]["args"] = json!(["sh", "-c", "cat /proc/1/cmdline /proc/self/oom_score_adj"]);
    let (status, said) = home.run(&config);
    assert_eq!((status, said.as_str()), (0, "sleep\0994\0999\n"));
    home.quiet(&["delete", "--force", &id]);
    home.assert_nothing_left();
}

#[test]
fn there_is_a_place_for_state_or_it_is_told() {
    let Some(home) = home("state", As::User) else {
        return;
    };
    let mut command = home.command(&["list"]);
    let (status, said) = text(&command.env_remove("XDG_RUNTIME_DIR").output().unwrap());
    assert!(status == 1 && said.contains("XDG_RUNTIME_DIR"), "{said}");
    let elsewhere = home.bench.path("run/elsewhere");
    let mut command = home.command(&["--root", elsewhere.to_str().unwrap(), "list"]);
    let (status, said) = text(&command.env_remove("XDG_RUNTIME_DIR").output().unwrap());
    assert_eq!(status, 0, "{said}");
}

/// Who may restrict itself is the container's own root, before it gives up its powers.
#[test]
fn landlock_is_for_users_too() {
    if !orlop_sys::landlock::abi().is_ok_and(|abi| abi >= 2) {
        return skipped("this kernel's Landlock cannot carry the default");
    }
    for (who, name) in [(As::User, "locks"), (As::NamespaceRoot, "nslocks")] {
        let Some(home) = home(name, who) else {
            return;
        };
        let mut config = home.spec(&["sh", "-c", "busybox mknod /tmp/made c 1 3"]);
        config["process"]["noNewPrivileges"] = json!(false);
        config["root"]["readonly"] = json!(false);
        let (_, said) = home.run(&config);
        assert!(said.contains("Operation not permitted"), "{said}");
        config["annotations"] = json!({"org.orlop.landlock": "default"});
        let (_, said) = home.run(&config);
        assert!(said.contains("Permission denied"), "{said}");
        home.assert_nothing_left();
    }
}
