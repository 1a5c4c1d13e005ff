//! `spec`: a config.json to begin with, as runc writes it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The newest version of the OCI runtime spec that this runtime knows.
pub(crate) const OCI_VERSION: &str = "1.3.0";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For a user who is not root
    #[arg(long)]
    rootless: bool,
    /// Directory to write it to
    #[arg(long, short, default_value = ".", value_name = "DIR")]
    bundle: PathBuf,
}

/// Never writes over a file.
pub(crate) fn spec(args: &Args) -> Result<()> {
    let config = if args.rootless {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        rootless(user.as_raw(), group.as_raw())
    } else {
        standard()
    };
    write(&args.bundle, &serde_json::to_string_pretty(&config)?)
}

fn write(bundle: &Path, text: &str) -> Result<()> {
    let path = bundle.join("config.json");
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            writeln!(file, "{text}").with_context(|| format!("write {}", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already; remove it first", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("make {}", path.display())),
    }
}

fn standard() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm"
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "container",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({
            "destination": destination, "type": kind, "source": source, "options": options
        })
    };
    json!([
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            "nosuid,strictatime,mode=755,size=65536k"
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            "nosuid,noexec,nodev,mode=1777,size=65536k"
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            "nosuid,noexec,nodev,relatime,ro"
        )
    ])
}

/// In a user namespace with the caller as its only user: group 5 does not exist there, sysfs
/// cannot be mounted without a network namespace, and there may be no cgroup to limit.
fn rootless(user: u32, group: u32) -> Value {
    let mut config = standard();
    config["mounts"] = mounts()
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| mount["destination"] != "/sys/fs/cgroup")
        .map(|mount| without_what_needs_root(mount.clone()))
        .collect();
    let linux = &mut config["linux"];
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": group, "size": 1 }]);
    linux["namespaces"] = json!([
        { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
        { "type": "cgroup" }, { "type": "user" }
    ]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    config
}

fn without_what_needs_root(mut mount: Value) -> Value {
    if mount["destination"] == "/sys" {
        return json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
        });
    }
    if let Some(options) = mount["options"].as_array_mut() {
        options.retain(|option| option != "gid=5");
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_runtime_takes_both() {
        for config in [standard(), rootless(1000, 1000)] {
            assert!(crate::config::accepts(&config), "{config}");
        }
    }

    #[test]
    fn rootless_needs_nothing_of_roots() {
        let config = rootless(7, 8);
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 7);
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 8);
        let text = config.to_string();
        for word in [
            "gid=5",
            "sysfs",
            "network",
            "resources",
            "\"/sys/fs/cgroup\"",
        ] {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "first").unwrap();
        let error = write(dir.path(), "second").unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert_eq!(text, "first\n");
    }
}
