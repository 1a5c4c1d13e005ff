//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`: set by the parent,
//! which may what the process in its user namespace may not.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag as Flag,
    LinuxSchedulerPolicy as Policy, Process, Scheduler as Asked,
};
use orlop_sys::sched::{Scheduler, set_io_priority, set_scheduler};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Refuses what is no scheduling at all, before anything is made.
pub(crate) fn check(process: &Process) -> Result<()> {
    process.scheduler().as_ref().map(scheduler).transpose()?;
    process.io_priority().as_ref().map(priority).transpose()?;
    if let Some(affinity) = process.exec_cpu_affinity() {
        Affinity::new(affinity)?;
    }
    Ok(())
}

/// Sets how `pid` is to be run.
pub(crate) fn apply(pid: Pid, process: &Process) -> Result<()> {
    let denied = |what: &str, errno: Errno| match errno {
        Errno::PERM => anyhow::anyhow!("process.{what}: needs CAP_SYS_NICE, which we lack"),
        Errno::INVAL => anyhow::anyhow!("process.{what}: the kernel takes no such values"),
        errno => anyhow::Error::from(errno).context(format!("process.{what}")),
    };
    if let Some(asked) = process.scheduler() {
        set_scheduler(pid, &scheduler(asked)?).map_err(|errno| denied("scheduler", errno))?;
    }
    if let Some(asked) = process.io_priority() {
        let (class, level) = priority(asked)?;
        set_io_priority(pid, class, level).map_err(|errno| denied("ioPriority", errno))?;
    }
    Ok(())
}

/// Values of linux/sched.h.
fn scheduler(asked: &Asked) -> Result<Scheduler> {
    let policy = match asked.policy() {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => bail!("scheduler: SCHED_ISO: no Linux has it"),
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let mut flags = 0;
    for flag in asked.flags().iter().flatten() {
        flags |= match flag {
            Flag::SchedResetOnFork => 1,
            Flag::SchedFlagReclaim => 2,
            Flag::SchedFlagDLOverrun => 4,
            Flag::SchedFlagKeepPolicy => 8,
            Flag::SchedFlagKeepParams => 16,
            Flag::SchedFlagUtilClampMin | Flag::SchedFlagUtilClampMax => bail!(
                "scheduler: flags: clamps of the utilisation: not supported (a configuration \
                 cannot say the value to clamp to)"
            ),
        };
    }
    let priority = asked.priority().unwrap_or(0);
    Ok(Scheduler {
        policy,
        flags,
        nice: asked.nice().unwrap_or(0),
        priority: u32::try_from(priority)
            .with_context(|| format!("scheduler: priority {priority} is below 0"))?,
        runtime: asked.runtime().unwrap_or(0),
        deadline: asked.deadline().unwrap_or(0),
        period: asked.period().unwrap_or(0),
    })
}

fn priority(asked: &LinuxIOPriority) -> Result<(u16, u16)> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = asked.priority();
    let level = u16::try_from(level).ok().filter(|level| *level <= 7);
    let level = level.with_context(|| {
        let asked = asked.priority();
        format!("ioPriority: priority {asked} is not within 0 (highest) to 7 (lowest)")
    })?;
    Ok((class, level))
}

/// Where an `exec` and its process may run.
#[derive(Debug, Default)]
pub(crate) struct Affinity {
    initial: Option<CpuSet>,
    last: Option<CpuSet>,
}

impl Affinity {
    pub(crate) fn new(asked: &ExecCPUAffinity) -> Result<Affinity> {
        let set = |name: &str, list: &Option<String>| {
            let list = list.as_deref();
            list.map(|list| cpus(list).with_context(|| format!("execCPUAffinity: {name} {list:?}")))
                .transpose()
        };
        Ok(Affinity {
            initial: set("initial", asked.initial())?,
            last: set("final", asked.cpu_affinity_final())?,
        })
    }

    pub(crate) fn of(process: &Process) -> Result<Affinity> {
        process
            .exec_cpu_affinity()
            .as_ref()
            .map_or_else(|| Ok(Affinity::default()), Affinity::new)
    }

    /// Before the process is made, which begins where we are.
    pub(crate) fn begin(&self) -> Result<()> {
        set_affinity(None, self.initial.as_ref(), "initial")
    }

    /// Once the process is in the container's cgroup.
    pub(crate) fn finish(&self, pid: Pid) -> Result<()> {
        set_affinity(Some(pid), self.last.as_ref(), "final")
    }
}

fn set_affinity(pid: Option<Pid>, set: Option<&CpuSet>, name: &str) -> Result<()> {
    let Some(set) = set else { return Ok(()) };
    sched_setaffinity(pid, set).map_err(|errno| match errno {
        Errno::INVAL => anyhow::anyhow!(
            "process.execCPUAffinity: {name}: none of these CPUs is there to be used"
        ),
        errno => anyhow::Error::from(errno).context(format!("process.execCPUAffinity: {name}")),
    })
}

/// As in `0-3,7`.
fn cpus(list: &str) -> Result<CpuSet> {
    let number = |text: &str| -> Result<usize> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let cpu = text.parse().ok().filter(|_| digits);
        let cpu: usize = cpu.with_context(|| format!("{text:?} is no number of a CPU"))?;
        let most = CpuSet::MAX_CPU - 1;
        ensure!(cpu <= most, "there is no CPU {cpu}; {most} is the last");
        Ok(cpu)
    };
    let mut set = CpuSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        ensure!(first <= last, "{part:?} ends before it begins");
        for cpu in first..=last {
            set.set(cpu);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(key: &str, value: serde_json::Value) -> String {
        let mut process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/"});
        process[key] = value;
        let (process, _) = crate::document::process(process.to_string().as_bytes()).unwrap();
        check(&process).map_or_else(|error| format!("{error:#}"), |()| "ok".into())
    }

    #[test]
    fn what_is_taken_and_refused() {
        for (key, value, expected) in [
            (
                "scheduler",
                json!({"policy": "SCHED_BATCH", "nice": 19}),
                "ok",
            ),
            (
                "scheduler",
                json!({"policy": "SCHED_ISO"}),
                "no Linux has it",
            ),
            (
                "scheduler",
                json!({"policy": "SCHED_RR", "priority": -1}),
                "below 0",
            ),
            (
                "scheduler",
                json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}),
                "not supported",
            ),
            (
                "ioPriority",
                json!({"class": "IOPRIO_CLASS_BE", "priority": 7}),
                "ok",
            ),
            (
                "ioPriority",
                json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
                "not within",
            ),
            ("execCPUAffinity", json!({"initial": "0-3,7"}), "ok"),
            ("execCPUAffinity", json!({"initial": "4096"}), "no CPU 4096"),
            ("execCPUAffinity", json!({"final": "1-"}), "final \"1-\""),
        ] {
            let got = verdict(key, value.clone());
            assert!(got.contains(expected), "{key} {value}: {got}");
        }
    }

    #[test]
    fn values_of_the_kernel() {
        let asked = json!({
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_PARAMS"],
            "runtime": 1, "deadline": 2, "period": 3
        });
        let got = scheduler(&serde_json::from_value(asked).unwrap()).unwrap();
        let expected = Scheduler {
            policy: 6, // SCHED_DEADLINE
            flags: 18,
            runtime: 1,
            deadline: 2,
            period: 3,
            ..Scheduler::default()
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn lists_of_cpus() {
        let set = cpus("0-3,7, 9 - 10").unwrap();
        let got: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect();
        assert_eq!(got, [0, 1, 2, 3, 7, 9, 10]);
        for list in ["", "a", "1-", "-1", "1,,2", "+1", "2-1", "1024"] {
            assert!(cpus(list).is_err(), "{list}");
        }
    }
}
