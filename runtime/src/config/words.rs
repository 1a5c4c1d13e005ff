//! Words that the spec and the library that reads it for us write differently.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Flags of `process.scheduler`: in the spec's words and in the library's.
const FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// A config.json or a process JSON.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let parsed = serde_json::from_slice(text);
    let Err(error) = parsed else { return parsed };
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else {
        return Err(error);
    };
    let mut replaced = false;
    // A config.json has its process in it, a process JSON is one.
    for pointer in ["/process", ""] {
        let process = value.pointer_mut(pointer);
        replaced |= process.is_some_and(replace_in);
    }
    // The first error says the line.
    if replaced {
        T::deserialize(value)
    } else {
        Err(error)
    }
}

/// Says whether there was anything to replace.
fn replace_in(process: &mut Value) -> bool {
    let mut replaced = false;
    let flags = process.pointer_mut("/scheduler/flags");
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, known)) = FLAGS.iter().find(|(word, _)| flag == word) {
            *flag = Value::from(*known);
            replaced = true;
        }
    }
    // To the spec an empty list is none, to the library it is malformed.
    let affinity = process.pointer_mut("/execCPUAffinity");
    if let Some(lists) = affinity.and_then(Value::as_object_mut) {
        let before = lists.len();
        lists.retain(|_, list| list != "");
        replaced |= lists.len() != before;
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxSchedulerFlag as Flag, Process, Spec};

    #[test]
    fn what_the_spec_has_is_read() {
        let all = r#"["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX"]"#;
        let process = format!(
            r#"{{"cwd": "/", "user": {{"uid": 0, "gid": 0}},
                "scheduler": {{"policy": "SCHED_OTHER", "flags": {all}}}}}"#
        );
        let expected = [
            Flag::SchedResetOnFork,
            Flag::SchedFlagReclaim,
            Flag::SchedFlagDLOverrun,
            Flag::SchedFlagKeepPolicy,
            Flag::SchedFlagKeepParams,
            Flag::SchedFlagUtilClampMin,
            Flag::SchedFlagUtilClampMax,
        ];
        let flags = |process: &Process| process.scheduler().clone().unwrap().flags().clone();
        let parsed: Process = parse(process.as_bytes()).unwrap();
        assert_eq!(flags(&parsed).unwrap(), expected);
        let whole = format!(r#"{{"ociVersion": "1.3.0", "process": {process}}}"#);
        let parsed: Spec = parse(whole.as_bytes()).unwrap();
        assert_eq!(flags(&parsed.process().clone().unwrap()).unwrap(), expected);
        let empty = r#"{"cwd": "/", "user": {"uid": 0, "gid": 0},
            "execCPUAffinity": {"initial": "1", "final": ""}}"#;
        let parsed: Process = parse(empty.as_bytes()).unwrap();
        let affinity = parsed.exec_cpu_affinity().clone().unwrap();
        assert_eq!(affinity.initial().as_deref(), Some("1"));
        assert_eq!(affinity.cpu_affinity_final(), &None);
        let wrong = whole.replace("SCHED_FLAG_RECLAIM", "SCHED_FLAG_NONE");
        let error = parse::<Spec>(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("SCHED_FLAG_NONE"), "{error}");
        let error = parse::<Spec>(b"{\n x").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
