//! What units and images come to.

use super::*;

/// What a unit that says nothing of capabilities has.
const USUAL: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The document of a unit with these lines under `[container]`.
fn document(lines: &str, uid: u32, image: Value) -> Result<Value, ConfigError> {
    let text = format!("[container]\nimage = \"localhost/web:1\"\n{lines}\n");
    let unit = orlop_unit::Unit::parse("web.toml", &text).unwrap().value;
    let image = json!({
        "architecture": "amd64", "os": "linux", "config": image,
        "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
    });
    let inputs = Inputs {
        unit: &unit,
        image: &serde_json::from_value(image).unwrap(),
        user: &Ids {
            uid,
            gid: uid,
            groups: Vec::new(),
            home: None,
        },
        rootfs: Path::new("/rootfs"),
        base: 131_072,
        binds: &[],
        devices: &[],
        io: &[],
        processors: &["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
    };
    build(&inputs).map(|spec| serde_json::to_value(spec).unwrap())
}

fn with(lines: &str) -> Value {
    document(lines, 0, json!({"Cmd": ["/web"]})).unwrap()
}

#[test]
fn a_unit_that_asks_for_nothing_gets_the_defaults() {
    let plain = with("");
    let process = &plain["process"];
    assert_eq!(process["args"], json!(["/web"]));
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["noNewPrivileges"], true);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(process["env"], json!(["HOME=/", "HOSTNAME=web", path]));
    let linux = &plain["linux"];
    let kinds = linux["namespaces"].as_array().unwrap().iter();
    let kinds: Vec<&str> = kinds.map(|one| one["type"].as_str().unwrap()).collect();
    let own = ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"];
    assert_eq!(kinds, own);
    let map = json!([{"containerID": 0, "hostID": 131_072, "size": ids::COUNT}]);
    assert_eq!((&linux["uidMappings"], &linux["gidMappings"]), (&map, &map));
    assert_eq!(linux["resources"]["pids"]["limit"], 1024);
    assert_eq!(linux["resources"]["memory"], Value::Null);
    assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    for mount in plain["mounts"].as_array().unwrap() {
        let options = mount["options"].as_array().unwrap();
        assert!(options.contains(&json!("nosuid")), "{mount}");
    }
}

/// Those of docker's daemon/pkg/oci/defaults.go, of 2026.
#[test]
fn what_docker_hides_is_hidden() {
    let linux = &with("")["linux"];
    let masked = json!([
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ]);
    assert_eq!(linux["maskedPaths"], masked);
    let read_only = json!([
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]);
    assert_eq!(linux["readonlyPaths"], read_only);
}

#[test]
fn capabilities_are_the_usual_ones_and_what_the_unit_says() {
    let usual =
        |but: &str| -> Vec<&str> { USUAL.into_iter().filter(|name| *name != but).collect() };
    let check = |lines: &str, uid: u32, all: &[&str], ambient: &[&str]| {
        let document = document(lines, uid, json!({"Cmd": ["/web"]})).unwrap();
        let found = &document["process"]["capabilities"];
        let sorted = |set: &str| {
            let names = found[set].as_array().cloned().unwrap_or_default();
            let mut names: Vec<String> = names
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        for set in ["bounding", "effective", "permitted"] {
            assert_eq!(sorted(set), all, "{set}: {lines}");
        }
        for set in ["inheritable", "ambient"] {
            assert_eq!(sorted(set), ambient, "{set}: {lines}");
        }
    };
    check("", 0, &usual(""), &[]);
    check("", 1000, &usual(""), &[]);
    check("cap-drop = [\"KILL\"]", 0, &usual("CAP_KILL"), &[]);
    check("cap-drop = [\"ALL\"]", 0, &[], &[]);
    let one = "cap-drop = [\"ALL\"]\ncap-add = [\"NET_RAW\"]";
    check(one, 0, &["CAP_NET_RAW"], &[]);
    // Not root: it would lose at execve(2) what is not ambient.
    check(one, 1000, &["CAP_NET_RAW"], &["CAP_NET_RAW"]);
}

/// Whichever way the capability is written.
#[test]
fn landlock_is_for_whoever_may_not_mount() {
    let key = "org.orlop.landlock";
    for (lines, expected) in [
        ("", json!("default")),
        ("cap-add = [\"NET_ADMIN\", \"MKNOD\"]", json!("default")),
        ("cap-drop = [\"ALL\"]", json!("default")),
        ("cap-add = [\"SYS_ADMIN\"]", Value::Null),
        (
            "cap-drop = [\"ALL\"]\ncap-add = [\"CAP_SYS_ADMIN\"]",
            Value::Null,
        ),
    ] {
        assert_eq!(with(lines)["annotations"][key], expected, "{lines}");
    }
}

/// What an exec health check runs is outside of Landlock's default: without it, too, nothing of
/// the host's may be within reach that the default forbids.
#[test]
fn no_unit_shares_a_namespace_with_the_host() {
    for lines in [
        "",
        "network = \"none\"",
        "cap-add = [\"NET_ADMIN\", \"SYS_ADMIN\", \"SYS_PTRACE\", \"MKNOD\"]",
    ] {
        let config = with(lines);
        for kind in ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"] {
            // New, as there is no path: to join one is another thing.
            let own = json!({"type": kind});
            let all = config["linux"]["namespaces"].as_array().unwrap();
            assert!(all.contains(&own), "{lines}: {kind}");
        }
    }
}

#[test]
fn limits_of_the_process_are_the_units() {
    assert_eq!(with("")["process"]["rlimits"], json!([]));
    let limited = with("ulimits = { nofile = \"1024:4096\", core = 0 }");
    let mut limits = limited["process"]["rlimits"].as_array().unwrap().clone();
    limits.sort_by_key(|limit| limit["type"].to_string());
    let core = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    let files = json!({"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096});
    assert_eq!(limits, [core, files]);
}

#[test]
fn the_command_is_the_units_or_the_images() {
    let image = json!({"Entrypoint": ["/init"], "Cmd": ["serve"], "Env": ["A=1", "B=2"]});
    let (entrypoint, command) = ("entrypoint = [\"/own\"]", "command = [\"x\", \"y\"]");
    for (lines, expected) in [
        (String::new(), vec!["/init", "serve"]),
        (command.to_owned(), vec!["/init", "x", "y"]),
        (entrypoint.to_owned(), vec!["/own"]),
        (format!("{entrypoint}\n{command}"), vec!["/own", "x", "y"]),
    ] {
        let made = document(&lines, 0, image.clone()).unwrap();
        assert_eq!(made["process"]["args"], json!(expected), "{lines}");
    }
    let own = document("environment = { B = \"3\" }", 0, image).unwrap();
    let values = own["process"]["env"].as_array().unwrap();
    assert!(values.contains(&json!("A=1")) && values.contains(&json!("B=3")));
    assert!(!values.contains(&json!("B=2")), "{values:?}");
    let none = document("", 0, json!({})).unwrap_err();
    assert_eq!(none, ConfigError::NoCommand);
}
