//! config.json and process JSON as this runtime reads them: `oci_spec`'s types, less what no
//! Linux container has.
//!
//! Read by `oci_spec` alone, a config brings the parsers of four other systems with it, and a
//! library of regular expressions for `process.execCPUAffinity`: a third of the program. So
//! the types that hold those are read here, and turned into `oci_spec`'s. Nothing else may ask
//! serde for a `Spec` or a `Process`: all of it would be back.

mod process;

use std::collections::HashMap;

use oci_spec::runtime::{Hooks, Linux, Mount, Process, Root, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use process::ProcessDocument;

/// Reads a config.json.
pub(crate) fn spec(text: &[u8]) -> serde_json::Result<Spec> {
    serde_json::from_slice(text).map(Document::into_spec)
}

/// Reads the hooks of a config.json, and nothing else of it.
pub(crate) fn hooks(text: &[u8]) -> serde_json::Result<Hooks> {
    #[derive(Deserialize)]
    struct Document {
        hooks: Option<Hooks>,
    }
    let document: Document = serde_json::from_slice(text)?;
    Ok(document.hooks.unwrap_or_default())
}

/// Reads a process JSON.
pub(crate) fn process(text: &[u8]) -> serde_json::Result<Process> {
    serde_json::from_slice(text).map(ProcessDocument::into_process)
}

/// Reads a part of a config that was put together here. As from a file: each further way to read
/// the same types makes the program larger.
pub(crate) fn part<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_slice(value.to_string().as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
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
            "scheduler": {
                "policy": "SCHED_DEADLINE", "nice": 3, "priority": 4, "runtime": 5, "deadline": 6,
                "period": 7, "flags": ["SCHED_FLAG_RECLAIM"]
            },
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
            let alone = hooks(text.as_bytes()).unwrap();
            assert_eq!(alone, expected.hooks().clone().unwrap_or_default());
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
}
