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

/// Reads a config.json. Beside it, the names of capabilities that nobody knows here.
pub(crate) fn spec(text: &[u8]) -> serde_json::Result<(Spec, Vec<String>)> {
    let (mut spec, unknown) = serde_json::from_slice(text).map(Document::into_spec)?;
    forget_unsaid_pids_limit(&mut spec, text)?;
    Ok((spec, unknown))
}

/// A limit of 0 is one, by the spec, and none given is not; `oci_spec` reads both as 0.
fn forget_unsaid_pids_limit(spec: &mut Spec, text: &[u8]) -> serde_json::Result<()> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said {
        linux: Linux,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Linux {
        resources: Resources,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Resources {
        pids: Pids,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Pids {
        limit: Option<i64>,
    }
    let linux = spec.linux_mut().as_mut();
    let resources = linux.and_then(|linux| linux.resources_mut().as_mut());
    let Some(resources) = resources else {
        return Ok(());
    };
    if resources
        .pids()
        .as_ref()
        .is_some_and(|pids| pids.limit() == 0)
    {
        let said: Said = serde_json::from_slice(text)?;
        if said.linux.resources.pids.limit.is_none() {
            resources.set_pids(None);
        }
    }
    Ok(())
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

/// Reads a process JSON. Beside it, the names of capabilities that nobody knows here.
pub(crate) fn process(text: &[u8]) -> serde_json::Result<(Process, Vec<String>)> {
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
    fn into_spec(self) -> (Spec, Vec<String>) {
        let process = self.process.map(ProcessDocument::into_process);
        let (process, unknown) = process.unzip();
        // Every field that has a default there is set.
        let mut spec = Spec::default();
        spec.set_version(self.oci_version)
            .set_root(self.root)
            .set_mounts(self.mounts)
            .set_process(process)
            .set_hostname(self.hostname)
            .set_domainname(self.domainname)
            .set_hooks(self.hooks)
            .set_annotations(self.annotations)
            .set_linux(self.linux);
        (spec, unknown.unwrap_or_default())
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
            assert_eq!(spec(text.as_bytes()).unwrap().0, expected, "{text}");
            let alone = hooks(text.as_bytes()).unwrap();
            assert_eq!(alone, expected.hooks().clone().unwrap_or_default());
        }
        for name in process_fields.keys() {
            let mut fields = process_fields.clone();
            fields.remove(name);
            let text = Value::from(fields).to_string();
            match serde_json::from_str::<Process>(&text) {
                Ok(expected) => {
                    assert_eq!(process(text.as_bytes()).unwrap().0, expected, "{text}");
                }
                Err(expected) => {
                    let got = process(text.as_bytes()).unwrap_err();
                    assert_eq!(got.to_string(), expected.to_string());
                }
            }
        }
    }

    #[test]
    fn names_that_nobody_knows_are_left_out() {
        let mut fields = whole_process();
        fields["capabilities"] =
            json!({ "bounding": ["CAP_KILL", "CAP_NEW"], "ambient": ["CAP_NEW", "CAP_NEWER"] });
        let (process, unknown) = process(fields.to_string().as_bytes()).unwrap();
        assert_eq!(unknown, ["CAP_NEW", "CAP_NEWER"]);
        let sets = process.capabilities().clone().unwrap();
        let count =
            |set: &Option<oci_spec::runtime::Capabilities>| set.as_ref().map(|set| set.len());
        assert_eq!(
            (count(sets.bounding()), count(sets.ambient())),
            (Some(1), Some(0))
        );
        assert_eq!(count(sets.effective()), None);
    }

    #[test]
    fn a_limit_of_none_is_no_limit() {
        let limit = |pids: Value| {
            let mut config = whole_spec();
            config["linux"]["resources"] = json!({ "pids": pids });
            let (spec, _) = spec(config.to_string().as_bytes()).unwrap();
            let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
            resources.pids().as_ref().map(|pids| pids.limit())
        };
        for (pids, expected) in [
            (json!({}), None),
            (json!({ "limit": 0 }), Some(0)),
            (json!({ "limit": -1 }), Some(-1)),
        ] {
            assert_eq!(limit(pids.clone()), expected, "{pids}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let error = spec(b"{\n \"process\": { \"user\": 1 }}").unwrap_err();
        assert_eq!(error.line(), 2);
    }
}
