//! A process, as in config.json or in a file of its own.

use std::path::PathBuf;

use oci_spec::runtime::{
    Box as Size, Capabilities, Capability, ExecCPUAffinity, LinuxCapabilities, LinuxIOPriority,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit, Process, Scheduler, User,
};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, de};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessDocument {
    terminal: Option<bool>,
    console_size: Option<Size>,
    user: User,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    capabilities: Option<CapabilitiesDocument>,
    rlimits: Option<Vec<PosixRlimit>>,
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    io_priority: Option<LinuxIOPriority>,
    scheduler: Option<SchedulerDocument>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<Affinity>,
}

impl ProcessDocument {
    /// Beside the process, the names of capabilities that nobody knows here.
    pub(super) fn into_process(self) -> (Process, Vec<String>) {
        let mut process = Process::default();
        let mut unknown = Vec::new();
        let capabilities = self.capabilities;
        let capabilities = capabilities.map(|sets| sets.into_oci(&mut unknown));
        process
            .set_terminal(self.terminal)
            .set_console_size(self.console_size)
            .set_user(self.user)
            .set_args(self.args)
            .set_env(self.env)
            .set_cwd(self.cwd)
            .set_capabilities(capabilities)
            .set_rlimits(self.rlimits)
            .set_no_new_privileges(self.no_new_privileges)
            .set_apparmor_profile(self.apparmor_profile)
            .set_oom_score_adj(self.oom_score_adj)
            .set_selinux_label(self.selinux_label)
            .set_io_priority(self.io_priority)
            .set_scheduler(self.scheduler.map(SchedulerDocument::into_scheduler))
            .set_exec_cpu_affinity(self.exec_cpu_affinity.map(Affinity::into_oci));
        (process, unknown)
    }
}

/// A name that cannot be mapped to a capability is no error by the spec, but a warning: it may
/// be one of a kernel to come.
#[derive(Deserialize)]
struct CapabilitiesDocument {
    bounding: Option<Vec<String>>,
    effective: Option<Vec<String>>,
    inheritable: Option<Vec<String>>,
    permitted: Option<Vec<String>>,
    ambient: Option<Vec<String>>,
}

impl CapabilitiesDocument {
    fn into_oci(self, unknown: &mut Vec<String>) -> LinuxCapabilities {
        let mut known = |names: Option<Vec<String>>| {
            let mut set = Capabilities::new();
            for name in names? {
                let read: Result<_, de::value::Error> =
                    Capability::deserialize(name.as_str().into_deserializer());
                match read {
                    Ok(capability) => {
                        set.insert(capability);
                    }
                    Err(_) if unknown.contains(&name) => {}
                    Err(_) => unknown.push(name),
                }
            }
            Some(set)
        };
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(known(self.bounding))
            .set_effective(known(self.effective))
            .set_inheritable(known(self.inheritable))
            .set_permitted(known(self.permitted))
            .set_ambient(known(self.ambient));
        sets
    }
}

#[derive(Deserialize)]
struct SchedulerDocument {
    policy: LinuxSchedulerPolicy,
    nice: Option<i32>,
    priority: Option<i32>,
    flags: Option<Vec<Flag>>,
    runtime: Option<u64>,
    deadline: Option<u64>,
    period: Option<u64>,
}

impl SchedulerDocument {
    fn into_scheduler(self) -> Scheduler {
        let flags = |flags: Vec<Flag>| flags.into_iter().map(|flag| flag.0).collect();
        let mut scheduler = Scheduler::default();
        scheduler
            .set_policy(self.policy)
            .set_nice(self.nice)
            .set_priority(self.priority)
            .set_flags(self.flags.map(flags))
            .set_runtime(self.runtime)
            .set_deadline(self.deadline)
            .set_period(self.period);
        scheduler
    }
}

/// Two of the flags have other names in the spec than in `oci_spec`, which takes only its own.
struct Flag(LinuxSchedulerFlag);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Flag, D::Error> {
        let word = String::deserialize(from)?;
        let known = match word.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => "SCHED_RESET_ON_FORK",
            "SCHED_FLAG_DL_OVERRUN" => "SCHED_FLAG_D_L_OVERRUN",
            other => other,
        };
        LinuxSchedulerFlag::deserialize(known.into_deserializer()).map(Flag)
    }
}

#[derive(Deserialize)]
struct Affinity {
    #[serde(default, deserialize_with = "unless_empty")]
    initial: Option<String>,
    #[serde(default, rename = "final", deserialize_with = "unless_empty")]
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

/// To the spec an empty list is none; `oci_spec` calls it malformed. What else is no list is seen
/// when the process is checked.
fn unless_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let list = Option::<String>::deserialize(from)?;
    Ok(list.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_spec_calls_otherwise_than_oci_spec() {
        let flags = |words: &[&str]| {
            let scheduler = json!({ "policy": "SCHED_OTHER", "flags": words }).to_string();
            serde_json::from_str::<SchedulerDocument>(&scheduler).map(|document| {
                document
                    .into_scheduler()
                    .flags()
                    .clone()
                    .unwrap_or_default()
            })
        };
        let got = flags(&[
            "SCHED_FLAG_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_DL_OVERRUN",
        ]);
        let expected = [
            LinuxSchedulerFlag::SchedResetOnFork,
            LinuxSchedulerFlag::SchedFlagReclaim,
            LinuxSchedulerFlag::SchedFlagDLOverrun,
        ];
        assert_eq!(got.unwrap(), expected);
        let error = flags(&["SCHED_FLAG_NONE"]).unwrap_err().to_string();
        assert!(error.contains("SCHED_FLAG_NONE"), "{error}");
        let lists: Affinity = serde_json::from_str(r#"{"initial":"1","final":""}"#).unwrap();
        assert_eq!((lists.initial.as_deref(), lists.later), (Some("1"), None));
    }
}
