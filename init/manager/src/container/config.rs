//! The OCI configuration that a unit and its image come to (I7's defaults).
//!
//! Pure: everything that has to be looked up is in [`Inputs`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::Spec;
use orlop_unit::{Capability, Rlimit, Unit};
use serde_json::{Value, json};

use super::ids;
use super::user::Ids;

/// The seccomp filter that every container gets.
const SECCOMP: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../runtime/profiles/default-seccomp.json"
));

/// What a unit that asks for nothing else may do in its own user namespace.
const CAPABILITIES: [&str; 11] = [
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

/// As docker has them; those of each processor are in [`Inputs`]. What the host's processors
/// draw, and when they are interrupted, tells what others compute.
const MASKED: [&str; 12] = [
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
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The annotation by which the runtime restricts a container with Landlock.
const LANDLOCK: &str = "org.orlop.landlock";

/// With this among its capabilities a container may mount, as those do that have others in them.
const MOUNTS: &str = "CAP_SYS_ADMIN";

/// Processes and threads of a unit that sets no limit.
const PIDS_DEFAULT: u32 = 1024;

/// A device beyond the usual six.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path in the container.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Its numbers.
    pub major: u32,
    /// Its numbers.
    pub minor: u32,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// An io limit with its device's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoNumbers {
    /// The device's numbers.
    pub major: u32,
    /// The device's numbers.
    pub minor: u32,
}

/// A file or directory of the host at a place in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// May only be read.
    pub read_only: bool,
}

/// What the configuration is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The unit.
    pub unit: &'a Unit,
    /// Its image's configuration.
    pub image: &'a ImageConfiguration,
    /// The user, resolved.
    pub user: &'a Ids,
    /// The container's root on the host.
    pub rootfs: &'a Path,
    /// The first host id of the container.
    pub base: u32,
    /// Files and volumes, in the order in which they are mounted.
    pub binds: &'a [Bind],
    /// Devices, looked up.
    pub devices: &'a [DeviceNode],
    /// Of the unit's io limits, in their order.
    pub io: &'a [IoNumbers],
    /// What is masked of this machine's processors.
    pub processors: &'a [String],
}

/// Why no configuration can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to run.
    #[error("the image names no command; give one with container.command or container.entrypoint")]
    NoCommand,
    /// The document is not one (a fault of this module).
    #[error("cannot make the container's configuration: {0}")]
    Document(String),
}

fn args(inputs: &Inputs<'_>) -> Result<Vec<String>, ConfigError> {
    let image = inputs.image.config().as_ref();
    let own = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let container = &inputs.unit.container;
    let image_entrypoint = own(image.and_then(|config| config.entrypoint().as_ref()));
    let image_command = own(image.and_then(|config| config.cmd().as_ref()));
    let (entrypoint, command) = match (&container.entrypoint, &container.command) {
        (Some(entrypoint), Some(command)) => (entrypoint.clone(), command.clone()),
        // As with docker: the image's command belongs to its own entrypoint.
        (Some(entrypoint), None) => (entrypoint.clone(), Vec::new()),
        (None, Some(command)) => (image_entrypoint, command.clone()),
        (None, None) => (image_entrypoint, image_command),
    };
    let args = [entrypoint, command].concat();
    if args.is_empty() {
        return Err(ConfigError::NoCommand);
    }
    Ok(args)
}

fn environment(inputs: &Inputs<'_>, hostname: &str) -> Vec<String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| values.insert(name.to_owned(), value.to_owned());
    set(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    set("HOSTNAME", hostname);
    set("HOME", inputs.user.home.as_deref().unwrap_or("/"));
    let image = inputs.image.config().as_ref();
    let from_image = image.and_then(|config| config.env().as_ref());
    for entry in from_image.into_iter().flatten() {
        if let Some((name, value)) = entry.split_once('=') {
            set(name, value);
        }
    }
    for (name, value) in &inputs.unit.container.environment {
        set(name, value);
    }
    values
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The capabilities of the container, and those that its program gets though it is not root.
fn capabilities(inputs: &Inputs<'_>) -> (Vec<String>, Vec<String>) {
    let container = &inputs.unit.container;
    // Both with `CAP_`, as the usual ones are written.
    let names = |list: &[Capability]| list.iter().map(Capability::to_string).collect();
    let dropped: Vec<String> = names(&container.capabilities_drop);
    let added: Vec<String> = names(&container.capabilities_add);
    let mut all: Vec<String> = CAPABILITIES
        .map(str::to_owned)
        .into_iter()
        .filter(|name| !dropped.contains(name) && !added.contains(name))
        .chain(added.iter().cloned())
        .collect();
    all.sort_unstable();
    // A user that is not root loses all at execve(2), but for the ambient ones:
    // what its unit spells out it is to have.
    let ambient = if inputs.user.uid == 0 {
        Vec::new()
    } else {
        added
    };
    (all, ambient)
}

/// The runtime's default ruleset. No key turns it off: who needs what it forbids needs to mount,
/// and who spells out the capability for that is without it.
fn annotations(capabilities: &[String]) -> Value {
    if capabilities.iter().any(|name| name == MOUNTS) {
        json!({})
    } else {
        json!({LANDLOCK: "default"})
    }
}

fn rlimits(limits: &[Rlimit]) -> Vec<Value> {
    limits
        .iter()
        .map(|limit| json!({"type": limit.kind.oci_name(), "soft": limit.soft, "hard": limit.hard}))
        .collect()
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let special = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        special("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        special(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        special(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        special(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        special(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ];
    for tmpfs in &inputs.unit.container.tmpfs {
        let mode = format!("mode={:o}", tmpfs.mode.unwrap_or(0o1777));
        let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), mode];
        if let Some(size) = tmpfs.size {
            options.push(format!("size={}", size.get()));
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        mounts.push(special(&tmpfs.target, "tmpfs", &options));
    }
    for bind in inputs.binds {
        let mut options = vec!["rbind", "rprivate", "nosuid", "nodev"];
        if bind.read_only {
            options.push("ro");
        }
        mounts.push(json!({
            "destination": bind.target, "type": "bind",
            "source": bind.source, "options": options,
        }));
    }
    mounts
}

fn device_rules(inputs: &Inputs<'_>) -> Vec<Value> {
    let allow = |kind: char, major: i64, minor: Option<i64>, access: &str| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    // null, zero, full, random, urandom, tty, ptmx, and the terminals.
    let usual = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    rules.extend(usual.map(|(major, minor)| allow('c', major, Some(minor), "rwm")));
    rules.push(allow('c', 136, None, "rwm"));
    rules.extend(inputs.devices.iter().map(|device| {
        let (major, minor) = (i64::from(device.major), i64::from(device.minor));
        allow(device.kind, major, Some(minor), &device.access)
    }));
    rules
}

fn resources(inputs: &Inputs<'_>) -> Value {
    let resources = &inputs.unit.resources;
    let mut value = json!({
        "devices": device_rules(inputs),
        "pids": {"limit": resources.pids.unwrap_or(PIDS_DEFAULT)},
    });
    if let Some(memory) = resources.memory {
        let limit = memory.get();
        // OCI's swap is the sum of both; without a word of it there is none.
        let swap = limit + resources.memory_swap.map_or(0, |swap| swap.get());
        value["memory"] = json!({"limit": limit, "swap": swap});
    }
    if let Some(cpus) = resources.cpus {
        let period = 100_000_u32;
        // From 0.01 to 1024 processors: fits, and truncation is below 10 µs.
        let quota = (cpus * f64::from(period)).round() as i64;
        value["cpu"] = json!({"quota": quota, "period": period});
    }
    let mut block = serde_json::Map::new();
    for (limit, numbers) in resources.io.iter().zip(inputs.io) {
        let mut put = |key: &str, rate: Option<u64>| {
            if let Some(rate) = rate {
                let entry = json!({"major": numbers.major, "minor": numbers.minor, "rate": rate});
                let list = block.entry(key).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(entry);
                }
            }
        };
        put(
            "throttleReadBpsDevice",
            limit.read_bps.map(|rate| rate.get()),
        );
        put(
            "throttleWriteBpsDevice",
            limit.write_bps.map(|rate| rate.get()),
        );
        put("throttleReadIOPSDevice", limit.read_iops);
        put("throttleWriteIOPSDevice", limit.write_iops);
    }
    if !block.is_empty() {
        value["blockIO"] = Value::Object(block);
    }
    value
}

fn masked<'i>(inputs: &'i Inputs<'_>) -> Vec<&'i str> {
    let of_processors = inputs.processors.iter().map(String::as_str);
    MASKED.into_iter().chain(of_processors).collect()
}

fn linux(inputs: &Inputs<'_>) -> Result<Value, ConfigError> {
    let map = json!([{"containerID": 0, "hostID": inputs.base, "size": ids::COUNT}]);
    let namespaces = ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"];
    let devices: Vec<Value> = inputs
        .devices
        .iter()
        .map(|device| {
            json!({
                "path": device.path, "type": device.kind.to_string(),
                "major": device.major, "minor": device.minor,
                "fileMode": 0o666, "uid": 0, "gid": 0,
            })
        })
        .collect();
    let seccomp: Value =
        serde_json::from_str(SECCOMP).map_err(|error| ConfigError::Document(error.to_string()))?;
    Ok(json!({
        "uidMappings": map, "gidMappings": map,
        "namespaces": namespaces.map(|kind| json!({"type": kind})),
        "cgroupsPath": format!("/orlop/{}", inputs.unit.name.as_str()),
        "resources": resources(inputs),
        "devices": devices,
        "seccomp": seccomp,
        "maskedPaths": masked(inputs),
        "readonlyPaths": READ_ONLY,
        // In its own network namespace a port below 1024 is no privilege.
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
    }))
}

/// The name that the container has for itself.
pub fn hostname(unit: &Unit) -> String {
    let own = unit.container.hostname.clone();
    own.unwrap_or_else(|| unit.name.as_str().to_owned())
}

/// The configuration.
pub fn build(inputs: &Inputs<'_>) -> Result<Spec, ConfigError> {
    let image = inputs.image.config().as_ref();
    let hostname = hostname(inputs.unit);
    let from_image = image.and_then(|config| config.working_dir().clone());
    let cwd = inputs.unit.container.working_dir.clone().or(from_image);
    let cwd = cwd.filter(|cwd| cwd.starts_with('/'));
    let (capabilities, ambient) = capabilities(inputs);
    let document = json!({
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "annotations": annotations(&capabilities),
        "root": {"path": inputs.rootfs, "readonly": inputs.unit.container.read_only},
        "process": {
            "terminal": false,
            "user": {
                "uid": inputs.user.uid, "gid": inputs.user.gid,
                "additionalGids": inputs.user.groups,
            },
            "args": args(inputs)?,
            "env": environment(inputs, &hostname),
            "cwd": cwd.as_deref().unwrap_or("/"),
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": ambient, "ambient": ambient,
            },
            "rlimits": rlimits(&inputs.unit.container.rlimits),
            "noNewPrivileges": true,
        },
        "mounts": mounts(inputs),
        "linux": linux(inputs)?,
    });
    serde_json::from_value(document).map_err(|error| ConfigError::Document(error.to_string()))
}

#[cfg(test)]
mod tests;
