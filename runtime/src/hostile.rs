//! Input that nobody meant: whatever is in config.json, an annotation, a process JSON or on the
//! handshake's channel, the answer is a value or an error, never a panic. Bytes of all kinds, and good
//! configurations with a few of their values replaced.

use std::collections::HashMap;

use oci_spec::runtime::Linux;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::{Bundle, load_process};
use crate::handshake::{Channel, Message};
use crate::landlock;
use crate::process::Plan;

/// A configuration that has something in every section.
fn good() -> Value {
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let rule = json!({"names": ["socket", "clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
        "args": [{"index": 0, "value": 40, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]});
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "domainname": "local",
        "annotations": {"a": "b", "org.orlop.landlock": "default"},
        "hooks": {"prestart": []},
        "process": {
            "terminal": true, "consoleSize": {"height": 24, "width": 80}, "cwd": "/",
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
            "args": ["sh", "-c", "true"], "env": ["PATH=/bin", "A=b"],
            "noNewPrivileges": true, "oomScoreAdj": 10,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 8, "hard": 9}],
            "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_CHOWN"]}
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/data", "source": "/x", "options": ["rbind", "idmap", "rro"],
             "uidMappings": ids, "gidMappings": ids}
        ],
        "linux": {
            "uidMappings": ids, "gidMappings": ids, "cgroupsPath": "/a/b",
            "namespaces": [{"type": "user"}, {"type": "mount"}, {"type": "uts"},
                           {"type": "network", "path": "/x"}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "rootfsPropagation": "rslave",
            "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3,
                         "fileMode": 438, "uid": 0, "gid": 0}],
            "resources": {
                "devices": [{"allow": false, "access": "rwm"},
                            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}],
                "memory": {"limit": 1_048_576, "swap": 2_097_152},
                "cpu": {"shares": 2, "quota": 1000, "period": 1000, "cpus": "0-1"},
                "pids": {"limit": 10},
                "unified": {"memory.high": "1"}
            },
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                        "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [rule]}
        }
    })
}

/// A ruleset of Landlock with everything in it.
fn good_ruleset() -> Value {
    json!({
        "ruleset": {"handledAccessFS": ["read_file", "refer"], "handledAccessNet": ["bind_tcp"],
                    "scoped": ["signal"]},
        "rules": {"pathBeneath": [{"allowedAccess": ["refer"], "paths": ["/", "/usr"]}],
                  "netPort": [{"allowedAccess": ["bind_tcp"], "ports": [80, 443]}]},
        "disableBestEffort": false
    })
}

fn consider_ruleset(text: &str) -> bool {
    let annotations = HashMap::from([(landlock::ANNOTATION.to_owned(), text.to_owned())]);
    landlock::asked(Some(&annotations)).is_ok()
}

/// Pointers to everything in a value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, below)| pointers(below, &format!("{at}/{key}"), into)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(index, below)| pointers(below, &format!("{at}/{index}"), into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        "/",
        "..",
        "/..",
        "\u{0}",
        "a\u{0}b",
        "=",
        "c",
        "b",
        "a",
        "mount",
        "SCMP_ACT_NOTIFY",
        "CAP_SYS_ADMIN",
        "SCMP_CMP_EQ",
        "/dev",
        "/dev/..",
        "size=9",
        "bind",
        "rrw",
        "read_fil",
        "-1",
        "2.0",
        "memory.max",
        "net...x",
        "0-",
        "\u{10ffff}",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => Just("x".repeat(5000)),
    ]
}

fn number() -> impl Strategy<Value = i64> {
    let edges = vec![0, 1, 5, 6, -1, 63, 64, 4096, 1 << 32, i64::MAX, i64::MIN];
    prop_oneof![prop::sample::select(edges), any::<i64>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Where something is replaced, and by what: mostly by something of the same kind, because
/// what is of another is refused before anybody looks at it.
#[derive(Debug, Clone)]
struct Change {
    at: prop::sample::Index,
    alike: Option<(String, i64)>,
    other: Value,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let alike = prop::option::weighted(0.8, (word(), number()));
    let change = (any::<prop::sample::Index>(), alike, value());
    let change = change.prop_map(|(at, alike, other)| Change { at, alike, other });
    prop::collection::vec(change, 1..5)
}

/// `base` with some of its values replaced.
fn replaced(mut base: Value, changes: Vec<Change>) -> String {
    for Change { at, alike, other } in changes {
        let mut all = Vec::new();
        pointers(&base, "", &mut all);
        let pointer = at.get(&all).clone();
        let Some(place) = base.pointer_mut(&pointer) else {
            continue;
        };
        match (alike, &mut *place) {
            (Some((word, _)), Value::String(text)) => *text = word,
            (Some((_, number)), Value::Number(_)) => *place = Value::from(number),
            (Some(_), Value::Bool(value)) => *value = !*value,
            (Some(_), Value::Array(list)) => list.extend(list.clone()),
            (Some(_), Value::Null | Value::Object(_)) | (None, _) => *place = other,
        }
    }
    base.to_string()
}

/// What becomes of a bundle, up to where the host would be touched.
fn consider(text: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    if let Ok(bundle) = Bundle::load(dir.path(), None) {
        let _ = Plan::new(&bundle.process, &bundle.linux);
        crate::cgroup::consider(&bundle.linux);
        crate::rootfs::consider(&bundle);
    }
}

fn consider_process(text: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("process.json");
    std::fs::write(&path, text).unwrap();
    if let Ok((process, _)) = load_process(&path) {
        let _ = Plan::new(&process, &Linux::default());
    }
}

#[test]
fn the_configuration_to_start_from_is_good() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), good().to_string()).unwrap();
    let bundle = Bundle::load(dir.path(), None).unwrap();
    Plan::new(&bundle.process, &bundle.linux).unwrap();
    assert!(consider_ruleset(&good_ruleset().to_string()));
}

proptest! {
    #[test]
    fn configurations(changes in changes()) {
        consider(replaced(good(), changes).as_bytes());
    }

    #[test]
    fn processes(changes in changes()) {
        consider_process(replaced(good()["process"].clone(), changes).as_bytes());
    }

    #[test]
    fn rulesets(changes in changes(), word in word()) {
        consider_ruleset(&replaced(good_ruleset(), changes));
        consider_ruleset(&word);
    }

    #[test]
    fn bytes(text in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..3000) {
        consider(&text);
        consider_process(&text);
        let good = good().to_string().into_bytes();
        let cut = cut.min(good.len());
        consider(&[&good[..cut], &text].concat());
    }

    #[test]
    fn packets(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 1..4)) {
        let (ours, theirs) = Channel::pair().unwrap();
        let flags = rustix::net::SendFlags::NOSIGNAL;
        for packet in &packets {
            rustix::net::send(&theirs, packet, flags).unwrap();
        }
        drop(theirs);
        for _ in &packets {
            let _ = ours.expect(&Message::Mapped);
        }
        prop_assert_eq!(ours.receive().unwrap(), None);
    }
}
