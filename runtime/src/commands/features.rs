//! `features`: what this runtime supports, as the OCI runtime spec's features.md has it.
//!
//! Nothing is said here a second time. For each thing that the spec knows, the code that would
//! carry it out is asked whether it takes it, so the document cannot say what is not so.

use oci_spec::runtime::{Capabilities, LinuxResources, LinuxSeccomp};
use serde_json::{Value, json};

use super::spec::OCI_VERSION;
use crate::hooks::{KINDS, Kind};
use crate::{cgroup, config, document, landlock, rootfs, seccomp};

const NAMESPACES: [&str; 8] = [
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// Every option of the spec's config.md and of mount(8) that belongs to no file system.
#[rustfmt::skip]
const MOUNT_OPTIONS: &[&str] = &[
    "acl", "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap",
    "iversion", "lazytime", "loud", "mand", "noacl", "noatime", "nodev", "nodiratime", "noexec",
    "noiversion", "nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow",
    "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "remount", "rexec", "ridmap",
    "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid",
    "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave",
    "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "silent", "slave",
    "strictatime", "suid", "symfollow", "sync", "tmpcopyup", "unbindable",
];

#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Those that other runtimes know, too.
const ARCHITECTURES: [&str; 5] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const POLICY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

pub(crate) fn features() -> anyhow::Result<()> {
    super::print(&serde_json::to_string_pretty(&document())?)
}

fn document() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": KINDS.map(Kind::name),
        "mountOptions": those(MOUNT_OPTIONS, rootfs::knows_mount_option),
        "linux": linux(),
        "potentiallyUnsafeConfigAnnotations": [landlock::ANNOTATION, cgroup::PROPERTY_ANNOTATIONS],
        "annotations": { "io.orlop.runtime.version": env!("CARGO_PKG_VERSION") },
    })
}

fn linux() -> Value {
    let resources = |value: Value| {
        document::part::<LinuxResources>(&value).is_ok_and(|resources| cgroup::supports(&resources))
    };
    json!({
        "namespaces": those(&NAMESPACES, namespace),
        "capabilities": those(&CAPABILITIES, |name| {
            document::part::<Capabilities>(&json!([name])).is_ok()
        }),
        "cgroup": {
            "v1": false,
            "v2": true,
            "systemd": true,
            "systemdUser": true,
            "rdma": resources(json!({ "rdma": { "mlx5_1": { "hcaHandles": 1 } } })),
        },
        "seccomp": {
            "enabled": true,
            "actions": those(&ACTIONS, |name| compiles(&json!({
                "listenerPath": listener(name), "syscalls": [{ "names": ["read"], "action": name }]
            }))),
            "operators": those(&OPERATORS, |name| compiles(&json!({
                "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO",
                    "args": [{ "index": 0, "value": 1, "op": name }] }]
            }))),
            "archs": those(&ARCHITECTURES, |name| compiles(&json!({ "architectures": [name] }))),
            "knownFlags": those(&FLAGS, |name| compiles(&json!({ "flags": [name] }))),
            "supportedFlags": those(&FLAGS, |name| compiles(&json!({ "flags": [name] }))),
        },
        // By this program; whether the kernel has them is another matter, as features.md says.
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "intelRdt": { "enabled": takes("/linux/intelRdt", json!({ "closID": "a" })) },
        "memoryPolicy": {
            "modes": those(&POLICY_MODES, |mode| takes("/linux/memoryPolicy", json!({ "mode": mode }))),
            "flags": those(&POLICY_FLAGS, |flag| takes("/linux/memoryPolicy",
                json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": [flag] }))),
        },
        "mountExtensions": { "idmap": { "enabled": rootfs::knows_mount_option("idmap") } },
        "netDevices": { "enabled": takes("/linux/netDevices", json!({ "eth0": {} })) },
    })
}

fn those<'n>(names: &[&'n str], supported: impl Fn(&str) -> bool) -> Vec<&'n str> {
    names
        .iter()
        .copied()
        .filter(|name| supported(name))
        .collect()
}

/// Whether a config.json with this in it is taken.
fn takes(pointer: &str, value: Value) -> bool {
    let mut config = base();
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    match config.pointer_mut(parent).and_then(Value::as_object_mut) {
        Some(parent) => parent.insert(key.to_owned(), value),
        None => return false,
    };
    config::accepts(&config)
}

fn base() -> Value {
    json!({
        "ociVersion": OCI_VERSION,
        "root": { "path": "rootfs" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/" },
        "linux": { "namespaces": [{ "type": "mount" }] }
    })
}

fn namespace(kind: &str) -> bool {
    let mut config = base();
    let ids = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    config["linux"] = match kind {
        "mount" => json!({ "namespaces": [{ "type": kind }] }),
        "user" => json!({
            "namespaces": [{ "type": "mount" }, { "type": kind }],
            "uidMappings": ids, "gidMappings": ids
        }),
        _ => json!({ "namespaces": [{ "type": "mount" }, { "type": kind }] }),
    };
    config::accepts(&config)
}

/// User notification needs somebody who is notified.
fn listener(action: &str) -> Option<&'static str> {
    (action == "SCMP_ACT_NOTIFY").then_some("/run/listener")
}

fn compiles(part: &Value) -> bool {
    let mut profile = part.clone();
    profile["defaultAction"] = json!("SCMP_ACT_ALLOW");
    if profile["listenerPath"].is_null()
        && let Some(fields) = profile.as_object_mut()
    {
        fields.remove("listenerPath");
    }
    document::part::<LinuxSeccomp>(&profile)
        .is_ok_and(|profile| seccomp::Filter::compile(&profile).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Features;

    #[test]
    fn it_is_a_features_document() {
        let features: Features = serde_json::from_value(document()).unwrap();
        assert_eq!(features.oci_version_max(), OCI_VERSION);
        let unsafe_annotations = features.potentially_unsafe_config_annotations();
        assert_eq!(
            *unsafe_annotations,
            Some(vec![
                "org.orlop.landlock".to_owned(),
                // As features.md has it, the dot in the end is for all that begin so.
                "org.systemd.property.".to_owned(),
            ])
        );
        let linux = features.linux().clone().unwrap();
        assert_eq!(
            linux.capabilities().as_ref().unwrap().len(),
            CAPABILITIES.len()
        );
        assert_eq!(linux.cgroup().as_ref().unwrap().v1(), &Some(false));
    }

    /// Each list, by what is surely in it and what is surely not.
    #[test]
    fn the_code_was_asked() {
        let document = document();
        let list = |pointer: &str| -> Vec<&str> {
            let list = document.pointer(pointer).and_then(Value::as_array).unwrap();
            list.iter().map(|name| name.as_str().unwrap()).collect()
        };
        let options = list("/mountOptions");
        assert!(options.contains(&"rro") && options.contains(&"rbind"));
        assert!(!rootfs::knows_mount_option("size=64k"));
        assert!(list("/linux/namespaces").contains(&"user"));
        assert_eq!(list("/linux/seccomp/operators").len(), OPERATORS.len());
        assert!(list("/linux/seccomp/actions").contains(&"SCMP_ACT_KILL_PROCESS"));
        assert!(!namespace("nonsense") && !takes("/process/cwd", json!("relative")));
        assert!(!compiles(&json!({ "flags": ["NONSENSE"] })));
    }

    #[test]
    fn every_capability_of_the_kernel_is_asked_for() {
        for (number, name) in CAPABILITIES.iter().enumerate() {
            let known: Result<Capabilities, _> = serde_json::from_value(json!([name]));
            let sets = json!({ "bounding": [name] });
            let sets = serde_json::from_value(sets).unwrap();
            let mask = crate::process::Sets::new(Some(&sets)).bounding_mask();
            assert!(known.is_ok() && mask == 1 << number, "{name}");
        }
    }
}
