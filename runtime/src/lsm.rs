//! AppArmor profiles and SELinux labels: of a process, of its keys, of its mounts.
//!
//! What a process gets is written into its own /proc/thread-self/attr, which is opened while
//! /proc is still the host's, and checked to be the kernel's: a container's own could be made
//! to swallow it (CVE-2019-16884, CVE-2025-52881). A label on a kernel without its module is
//! refused: to ignore it would mislead.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs};
use rustix::io::Errno;

/// SELINUX_MAGIC of linux/magic.h.
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
/// A process that is not confined, in AppArmor's words.
const UNCONFINED: &str = "unconfined";

/// The modules that this kernel has at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Active {
    apparmor: bool,
    selinux: bool,
}

impl Active {
    fn now() -> Active {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        let statfs = rustix::fs::statfs("/sys/fs/selinux");
        Active {
            apparmor: enabled.is_ok_and(|text| text.starts_with('Y')),
            selinux: statfs.is_ok_and(|stat| stat.f_type == SELINUX_MAGIC),
        }
    }
}

/// What is written where, as the process that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    /// The first of these that is there, below /proc/thread-self/attr.
    files: &'static [&'static str],
    value: String,
}

/// What a process asks for.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// For the program that is executed next.
    program: Vec<Attribute>,
    /// For keyrings made from here on.
    keys: Option<Attribute>,
    program_files: Vec<OwnedFd>,
    keys_file: Option<OwnedFd>,
}

/// Refuses a process's labels that this kernel would not enforce.
pub(crate) fn check(process: &Process) -> Result<()> {
    Labels::new(process).map(drop)
}

impl Labels {
    pub(crate) fn new(process: &Process) -> Result<Labels> {
        // Most processes ask for nothing, and so of the kernel nothing is asked.
        if word(process.apparmor_profile()).is_none() && word(process.selinux_label()).is_none() {
            return Ok(Labels::default());
        }
        Labels::with(process, Active::now())
    }

    fn with(process: &Process, active: Active) -> Result<Labels> {
        let mut labels = Labels::default();
        if let Some(profile) = word(process.apparmor_profile()) {
            ensure!(
                active.apparmor || profile == UNCONFINED,
                "apparmorProfile {profile:?}: AppArmor is not enabled on this kernel"
            );
            ensure!(
                !profile.contains(['\0', '\n']),
                "apparmorProfile {profile:?}: not the name of a profile"
            );
            if active.apparmor {
                labels.program.push(Attribute {
                    files: &["apparmor/exec", "exec"],
                    value: format!("exec {profile}"),
                });
            }
        }
        if let Some(label) = word(process.selinux_label()) {
            check_selinux("selinuxLabel", label, active)?;
            let attribute = |files| Attribute {
                files,
                value: label.to_owned(),
            };
            labels.program.push(attribute(&["exec"]));
            labels.keys = Some(attribute(&["keycreate"]));
        }
        Ok(labels)
    }

    /// Opens what is written later. To be called before the process leaves the host's mounts.
    pub(crate) fn open(&mut self) -> Result<()> {
        for attribute in &self.program {
            self.program_files.push(attribute.open()?);
        }
        self.keys_file = self.keys.as_ref().map(Attribute::open).transpose()?;
        Ok(())
    }

    /// Calls `make` with keyrings being labelled meanwhile.
    pub(crate) fn label_keys(&self, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let (Some(attribute), Some(file)) = (&self.keys, &self.keys_file) else {
            return make();
        };
        attribute.write(file, &attribute.value)?;
        make()?;
        attribute.write(file, "")
    }

    /// Labels whatever program is executed next by this process or those it makes.
    pub(crate) fn label_program(&self) -> Result<()> {
        for (attribute, file) in self.program.iter().zip(&self.program_files) {
            attribute.write(file, &attribute.value)?;
        }
        Ok(())
    }

    /// Closes what was opened.
    pub(crate) fn close(&mut self) {
        self.program_files.clear();
        self.keys_file = None;
    }
}

impl Attribute {
    fn open(&self) -> Result<OwnedFd> {
        let mut last = Errno::NOENT;
        for file in self.files {
            let path = format!("/proc/thread-self/attr/{file}");
            match rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => {
                    let kernels = fstatfs(&file)?.f_type == PROC_SUPER_MAGIC;
                    ensure!(kernels, "{path}: /proc of the host is no proc file system");
                    return Ok(file);
                }
                Err(errno) => last = errno,
            }
        }
        let file = self.files.last().copied().unwrap_or_default();
        Err(last).with_context(|| format!("/proc/thread-self/attr/{file}"))
    }

    fn write(&self, file: &OwnedFd, value: &str) -> Result<()> {
        let written = rustix::io::write(file, value.as_bytes());
        written.map(drop).with_context(|| {
            format!("the kernel refused {value:?} (is that profile or label loaded?)")
        })
    }
}

fn word(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

fn check_selinux(what: &str, label: &str, active: Active) -> Result<()> {
    ensure!(
        active.selinux,
        "{what} {label:?}: SELinux is not enabled on this kernel"
    );
    // USER:ROLE:TYPE and perhaps a level, which may have colons.
    let parts: Vec<_> = label.splitn(4, ':').collect();
    ensure!(
        parts.len() >= 3 && parts.iter().all(|part| !part.is_empty()) && !label.contains('\0'),
        "{what} {label:?}: not of the form USER:ROLE:TYPE or USER:ROLE:TYPE:LEVEL"
    );
    Ok(())
}

/// How a mount gets `linux.mountLabel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountLabel {
    /// Its files have labels that the policy says.
    Fixed,
    /// By the option "context".
    Option,
    /// By an attribute of its root.
    Root,
}

impl MountLabel {
    /// By the type of the file system.
    pub(crate) fn of(kind: &str) -> MountLabel {
        match kind {
            "proc" | "sysfs" | "cgroup" | "cgroup2" => MountLabel::Fixed,
            "mqueue" => MountLabel::Root,
            _ => MountLabel::Option,
        }
    }
}

/// Refuses a `linux.mountLabel` that this kernel would not enforce.
pub(crate) fn check_mounts(label: &Option<String>) -> Result<()> {
    word(label).map_or(Ok(()), |label| {
        check_selinux("mountLabel", label, Active::now())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const BOTH: Active = Active {
        apparmor: true,
        selinux: true,
    };
    const NONE: Active = Active {
        apparmor: false,
        selinux: false,
    };

    fn writes(key: &str, value: &str, active: Active) -> Result<Vec<(String, String)>> {
        let mut process: Value = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/"});
        process[key] = json!(value);
        let process: Process = serde_json::from_value(process).unwrap();
        let labels = Labels::with(&process, active)?;
        let all = labels.keys.iter().chain(&labels.program);
        Ok(all
            .map(|one| (one.files[0].to_owned(), one.value.clone()))
            .collect())
    }

    #[test]
    fn what_is_written_where() {
        let label = "system_u:system_r:container_t:s0:c1,c2";
        for (key, value, active, expected) in [
            ("apparmorProfile", "", NONE, Ok(vec![])),
            ("apparmorProfile", "unconfined", NONE, Ok(vec![])),
            (
                "apparmorProfile",
                "unconfined",
                BOTH,
                Ok(vec![("apparmor/exec", "exec unconfined")]),
            ),
            (
                "apparmorProfile",
                "docker-default",
                BOTH,
                Ok(vec![("apparmor/exec", "exec docker-default")]),
            ),
            (
                "apparmorProfile",
                "docker-default",
                NONE,
                Err("AppArmor is not enabled"),
            ),
            ("apparmorProfile", "a\nb", BOTH, Err("not the name")),
            ("selinuxLabel", "", NONE, Ok(vec![])),
            ("selinuxLabel", label, NONE, Err("SELinux is not enabled")),
            (
                "selinuxLabel",
                label,
                BOTH,
                Ok(vec![("keycreate", label), ("exec", label)]),
            ),
            ("selinuxLabel", "container_t", BOTH, Err("USER:ROLE:TYPE")),
            ("selinuxLabel", "a::c", BOTH, Err("USER:ROLE:TYPE")),
        ] {
            match (writes(key, value, active), expected) {
                (Ok(got), Ok(expected)) => {
                    let got: Vec<_> = got.iter().map(|(f, v)| (f.as_str(), v.as_str())).collect();
                    assert_eq!(got, expected, "{key} {value}");
                }
                (Err(error), Err(text)) => {
                    assert!(error.to_string().contains(text), "{key} {value}: {error}");
                }
                (got, expected) => panic!("{key} {value}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn mounts() {
        for (kind, expected) in [
            ("proc", MountLabel::Fixed),
            ("cgroup", MountLabel::Fixed),
            ("mqueue", MountLabel::Root),
            ("tmpfs", MountLabel::Option),
            ("devpts", MountLabel::Option),
        ] {
            assert_eq!(MountLabel::of(kind), expected, "{kind}");
        }
    }

    /// On any kernel the files can be opened, and a name that no module knows is refused.
    #[test]
    fn the_kernel_is_asked() {
        let attribute = Attribute {
            files: &["no/such", "exec"],
            value: "exec no-such-profile".into(),
        };
        let file = attribute.open().unwrap();
        let error = attribute.write(&file, &attribute.value).unwrap_err();
        assert!(error.to_string().contains("the kernel refused"), "{error}");
        let missing = Attribute {
            files: &["no/such"],
            value: String::new(),
        };
        let error = format!("{:#}", missing.open().unwrap_err());
        assert!(error.contains("/proc/thread-self/attr/no/such"), "{error}");
    }
}
