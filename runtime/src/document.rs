//! config.json and process JSON as this runtime reads them: `oci_spec`'s types, less what no
//! Linux container has.
//!
//! Read by `oci_spec` alone, a config brings the parsers of four other systems with it, and a
//! library of regular expressions for `process.execCPUAffinity`: a fifth of this program. So
//! the two types that hold those are read here, and turned into `oci_spec`'s.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Box as Size, ExecCPUAffinity, Hooks, Linux, LinuxCapabilities, LinuxIOPriority, Mount,
    PosixRlimit, Process, Root, Scheduler, Spec, User,
};
use serde::{Deserialize, Deserializer, de};

/// Reads a config.json.
pub(crate) fn spec(text: &[u8]) -> serde_json::Result<Spec> {
    serde_json::from_slice(text).map(Document::into_spec)
}

/// Reads a process JSON.
pub(crate) fn process(text: &[u8]) -> serde_json::Result<Process> {
    serde_json::from_slice(text).map(ProcessDocument::into_process)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    oci_version: String,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
    process: Option<ProcessDocument>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<Linux>,
}

impl Document {
    fn into_spec(self) -> Spec {
        // Every field that has a default there is set.
        let mut spec = Spec::default();
        spec.set_version(self.oci_version)
            .set_root(self.root)
            .set_mounts(self.mounts)
            .set_process(self.process.map(ProcessDocument::into_process))
            .set_hostname(self.hostname)
            .set_domainname(self.domainname)
            .set_hooks(self.hooks)
            .set_annotations(self.annotations)
            .set_linux(self.linux);
        spec
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessDocument {
    terminal: Option<bool>,
    console_size: Option<Size>,
    user: User,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    capabilities: Option<LinuxCapabilities>,
    rlimits: Option<Vec<PosixRlimit>>,
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    io_priority: Option<LinuxIOPriority>,
    scheduler: Option<Scheduler>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<Affinity>,
}

impl ProcessDocument {
    fn into_process(self) -> Process {
        let mut process = Process::default();
        process
            .set_terminal(self.terminal)
            .set_console_size(self.console_size)
            .set_user(self.user)
            .set_args(self.args)
            .set_env(self.env)
            .set_cwd(self.cwd)
            .set_capabilities(self.capabilities)
            .set_rlimits(self.rlimits)
            .set_no_new_privileges(self.no_new_privileges)
            .set_apparmor_profile(self.apparmor_profile)
            .set_oom_score_adj(self.oom_score_adj)
            .set_selinux_label(self.selinux_label)
            .set_io_priority(self.io_priority)
            .set_scheduler(self.scheduler)
            .set_exec_cpu_affinity(self.exec_cpu_affinity.map(Affinity::into_oci));
        process
    }
}

#[derive(Deserialize)]
struct Affinity {
    #[serde(default, deserialize_with = "processors")]
    initial: Option<String>,
    #[serde(default, rename = "final", deserialize_with = "processors")]
    later: Option<String>,
}

impl Affinity {
    fn into_oci(self) -> ExecCPUAffinity {
        let mut affinity = ExecCPUAffinity::default();
        affinity
            .set_initial(self.initial)
            .set_cpu_affinity_final(self.later);
        affinity
    }
}

fn processors<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let list = Option::<String>::deserialize(from)?;
    match &list {
        Some(text) if !is_processor_list(text) => Err(de::Error::custom(format!(
            "execCPUAffinity: {text:?} is no list of processors such as 0-3,7"
        ))),
        Some(_) | None => Ok(list),
    }
}

/// Numbers and ranges of numbers, with commas between.
fn is_processor_list(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn whole_process() -> Value {
        json!({
            "terminal": true,
            "consoleSize": { "height": 24, "width": 80 },
            "user": { "uid": 1, "gid": 2, "umask": 63, "additionalGids": [5] },
            "args": ["sh"],
            "env": ["A=b"],
            "cwd": "/x",
            "capabilities": { "bounding": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 2, "soft": 1 }],
            "noNewPrivileges": true,
            "apparmorProfile": "a",
            "oomScoreAdj": 7,
            "selinuxLabel": "s",
            "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 1 },
            "scheduler": { "policy": "SCHED_OTHER", "nice": 3 },
            "execCPUAffinity": { "initial": "0-3,7", "final": "1" }
        })
    }

    fn whole_spec() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "root": { "path": "r", "readonly": true },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "process": whole_process(),
            "hostname": "h",
            "domainname": "d",
            "hooks": { "poststop": [{ "path": "/bin/true" }] },
            "annotations": { "k": "v" },
            "linux": { "namespaces": [{ "type": "mount" }] }
        })
    }

    /// With any one field left out, or all, it is what `oci_spec` makes of it.
    #[test]
    fn nothing_is_read_otherwise_than_by_oci_spec() {
        let spec_fields = whole_spec().as_object().unwrap().clone();
        let process_fields = whole_process().as_object().unwrap().clone();
        let mut texts = vec![whole_spec().to_string(), json!({}).to_string()];
        for name in spec_fields.keys() {
            let mut fields = spec_fields.clone();
            fields.remove(name);
            texts.push(Value::from(fields).to_string());
        }
        for text in &texts {
            let expected: Spec = serde_json::from_str(text).unwrap();
            assert_eq!(spec(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for name in process_fields.keys() {
            let mut fields = process_fields.clone();
            fields.remove(name);
            let text = Value::from(fields).to_string();
            match serde_json::from_str::<Process>(&text) {
                Ok(expected) => assert_eq!(process(text.as_bytes()).unwrap(), expected, "{text}"),
                Err(expected) => {
                    let got = process(text.as_bytes()).unwrap_err();
                    assert_eq!(got.to_string(), expected.to_string());
                }
            }
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let error = spec(b"{\n \"process\": { \"user\": 1 }}").unwrap_err();
        assert_eq!(error.line(), 2);
    }

    proptest! {
        #[test]
        fn lists_of_processors(text in "[0-9,-]{0,8}|[a-z 0-9,-]{0,4}") {
            let json = json!({ "initial": text }).to_string();
            let theirs = serde_json::from_str::<ExecCPUAffinity>(&json).is_ok();
            prop_assert_eq!(is_processor_list(&text), theirs);
        }
    }
}
