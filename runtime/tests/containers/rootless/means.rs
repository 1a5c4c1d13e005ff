//! What a user has no power over: devices, scores, his own program's file.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::home::{As, USER, home};
use crate::support::text;

/// Everybody's devices are the host's own, each what its name says.
#[test]
fn devices_are_bound_and_checked() {
    for (who, name) in [(As::User, "userdev"), (As::NamespaceRoot, "rootdev")] {
        let Some(home) = home(name, who) else {
            return;
        };
        let script = "echo x > /dev/null && test -c /dev/kmsg && test -p /dev/fifo && \
            stat -c '%t:%T %n' /dev/full /dev/kmsg; echo y 2>&1 > /dev/full; echo $?";
        let mut config = home.spec(&["sh", "-c", script]);
        let kmsg = json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 });
        let fifo = json!({ "path": "/dev/fifo", "type": "p", "major": 0, "minor": 0 });
        let usual = json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3 });
        config["linux"]["devices"] = json!([kmsg, fifo, usual]);
        let (status, said) = home.run(&config);
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("1:7 /dev/full\n1:b /dev/kmsg"), "{said}");
        assert!(said.contains("No space left"), "{said}");
        for (device, expected) in [
            (
                json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 3 }),
                "is not the character device 1:3",
            ),
            (
                json!({ "path": "/dev/kmsg", "type": "b", "major": 1, "minor": 11 }),
                "is not the block device 1:11",
            ),
            (
                json!({ "path": "/dev/none", "type": "c", "major": 240, "minor": 7 }),
                "only root can make any",
            ),
            (
                json!({ "path": "/etc/kmsg", "type": "c", "major": 1, "minor": 11 }),
                "linux.devices: /etc/kmsg (device nodes are the host's own here",
            ),
        ] {
            config["linux"]["devices"] = json!([device]);
            let (status, said) = home.run(&config);
            assert!(status == 1 && said.contains(expected), "{device}: {said}");
        }
        home.assert_nothing_left();
    }
}

#[test]
fn an_oom_score_is_raised_and_never_lowered() {
    for (who, name) in [
        (As::User, "useroom"),
        (As::NamespaceRoot, "rootoom"),
        (As::Unmounted, "unmountedoom"),
    ] {
        let Some(home) = home(name, who) else {
            return;
        };
        let mut config = home.spec(&["sh", "-c", "cat /proc/self/oom_score_adj; sleep 1000"]);
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let own: i32 = own.trim().parse().unwrap();
        let raised = own.max(0) + 11;
        config["process"]["oomScoreAdj"] = json!(raised);
        home.write(&config);
        let id = home.bench.id("oom");
        home.quiet(&["run", "--detach", &id]);
        let show = [
            "exec",
            &id,
            "cat",
            "/proc/1/oom_score_adj",
            "/proc/self/oom_score_adj",
        ];
        let (status, said) = text(&home.call(&show));
        assert_eq!((status, said), (0, format!("{raised}\n{raised}\n")));
        home.quiet(&["delete", "--force", &id]);
        config["process"]["oomScoreAdj"] = json!(-1000);
        let (status, said) = home.run(&config);
        let told = said.contains("process.oomScoreAdj -1000") && said.contains("CAP_SYS_RESOURCE");
        assert!(status == 1 && told, "{said}");
        home.assert_nothing_left();
    }
}

/// CVE-2019-5736, where a user installed the program himself: its file is his to write.
#[test]
fn a_users_own_program_runs_from_a_sealed_copy() {
    let Some(home) = home("sealed", As::User) else {
        return;
    };
    home.spec(&["sleep", "1000"]);
    let exe = |id: &str| PathBuf::from(format!("/proc/{}/exe", home.state(id)["pid"]));
    let id = home.bench.id("roots");
    home.quiet(&["create", &id]);
    // As root's it is out of reach, and nothing is copied.
    assert_eq!(std::fs::read_link(exe(&id)).unwrap(), home.program());
    home.quiet(&["delete", "--force", &id]);
    rustix::fs::chown(home.program(), Some(rustix::fs::Uid::from_raw(USER)), None).unwrap();
    let id = home.bench.id("users");
    home.quiet(&["create", &id]);
    let link = std::fs::read_link(exe(&id)).unwrap();
    assert!(
        link.starts_with("/memfd:orlop-runtime (deleted)"),
        "{link:?}"
    );
    let seals = rustix::fs::fcntl_get_seals(std::fs::File::open(exe(&id)).unwrap()).unwrap();
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SEAL));
    home.quiet(&["delete", "--force", &id]);
    home.assert_nothing_left();
}

/// What may be set up in namespaces of one's own, without any power outside.
#[test]
fn what_a_user_can_set_up() {
    let Some(home) = home("setup", As::User) else {
        return;
    };
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; \
        ls /sys/class/net; ls /sys/fs/cgroup; hostname; ulimit -n";
    let mut config = home.spec(&["sh", "-c", script]);
    let plain = config.clone();
    let kinds = config["linux"]["namespaces"].as_array_mut().unwrap();
    kinds.push(json!({ "type": "network" }));
    config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "9999" });
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys");
    mounts.push(json!({ "destination": "/sys", "type": "sysfs", "options": ["ro", "nosuid"] }));
    if home.bench.cgroup("any").is_some() {
        mounts.push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup" }));
    }
    config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 99, "soft": 77 }]);
    let (status, said) = home.run(&config);
    assert_eq!(status, 0, "{said}");
    assert!(said.starts_with("1\n9999\nlo\n"), "{said}");
    assert!(said.ends_with("\ncontainer\n77\n"), "{said}");

    let refused = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut config = plain.clone();
        change(&mut config);
        let (status, said) = home.run(&config);
        assert!(status == 1 && said.contains(expected), "{expected}: {said}");
    };
    let mount = |config: &mut Value, mount: Value| {
        config["mounts"].as_array_mut().unwrap().push(mount);
    };
    let sysfs = json!({ "destination": "/sys", "type": "sysfs" });
    refused(
        &|config| mount(config, sysfs.clone()),
        "network namespace of the container's own",
    );
    let group = json!({ "destination": "/dev/pts", "type": "devpts", "options": ["gid=5"] });
    refused(
        &|config| mount(config, group.clone()),
        "gid=5 (is that id mapped?)",
    );
    let part = json!({ "destination": "/tmp", "type": "bind", "source": "/", "options": ["bind"] });
    refused(&|config| mount(config, part.clone()), "rbind");
    let groups = json!([5]);
    refused(
        &|config| config["process"]["user"]["additionalGids"] = groups.clone(),
        "additionalGids [5]",
    );
    let limit = json!([{ "type": "RLIMIT_CORE", "hard": u64::MAX, "soft": 0 },
        { "type": "RLIMIT_NOFILE", "hard": 1 << 30, "soft": 5 }]);
    refused(
        &|config| config["process"]["rlimits"] = limit.clone(),
        "CAP_SYS_RESOURCE",
    );
    home.assert_nothing_left();
}

/// Whoever maps its ids needs to see the process; once that is done nobody needs to.
#[test]
fn a_created_process_hides() {
    let Some(home) = home("hides", As::User) else {
        return;
    };
    home.spec(&["sleep", "1000"]);
    let id = home.bench.id("hides");
    home.quiet(&["create", &id]);
    let status = format!("/proc/{}/status", home.state(&id)["pid"]);
    let owner = || rustix::fs::stat(status.as_str()).unwrap().st_uid;
    assert_eq!(owner(), 0, "files of one that hides are root's");
    home.quiet(&["start", &id]);
    assert_eq!(owner(), USER);
    home.quiet(&["delete", "--force", &id]);
    home.assert_nothing_left();
}
