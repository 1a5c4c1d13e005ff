//! Changing the limits of a cgroup that is in use: all that are asked for, or none.
//!
//! Unlike in a new cgroup, "unlimited" is something to write here. What is not named stays as
//! it is; in particular a new memory limit leaves that of swap alone.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};
use rustix::fs::{Mode, OFlags};

use super::limits::{self, Write};
use super::replaced::Replaced;
use super::systemd::News;
use super::{Cgroup, Scope, enable_controllers, mount_point, systemd};
use crate::standing::Standing;

/// What an update has to know of the limits that hold now: the text of some files.
#[derive(Debug, Default, Clone)]
struct Now {
    /// cpu.max: quota and period.
    cpu: String,
    /// cpu.max.burst.
    burst: String,
    /// memory.max.
    memory: String,
    /// memory.current.
    used: String,
}

/// Applies the resources to a container's cgroup.
pub(crate) fn update(
    path: &Path,
    scope: Option<&Scope>,
    resources: &LinuxResources,
    standing: Standing,
) -> Result<()> {
    let mount = mount_point().context("no cgroup2 file system is mounted on /sys/fs/cgroup")?;
    let cgroup = Cgroup::of(path)?;
    let file = |name: &str| cgroup.read(name).unwrap_or_default();
    let now = Now {
        cpu: file("cpu.max"),
        burst: file("cpu.max.burst"),
        memory: file("memory.max"),
        used: file("memory.current"),
    };
    let mut writes = writes(resources, &now)?;
    if scope.is_some() {
        systemd::round(&mut writes);
    }
    enable_controllers(mount, path, &writes)?;
    let rules = resources.devices().as_deref();
    let rules = rules.filter(|_| standing.limits_devices());
    apply(&cgroup, &writes, rules, |writes| {
        let news = scope.map(|scope| systemd::news(scope, writes));
        let news = news.transpose()?.flatten();
        Ok(move || news.map_or(Ok(()), News::tell))
    })
}

/// All of it or none. `reach` finds whoever has to be told.
fn apply<T: FnOnce() -> Result<()>>(
    cgroup: &Cgroup,
    writes: &[Write],
    rules: Option<&[LinuxDeviceCgroup]>,
    reach: impl FnOnce(&[Write]) -> Result<T>,
) -> Result<()> {
    // Who is not there is the most likely to fail, so he is looked for first.
    let tell = reach(writes)?;
    let mut undo = Vec::with_capacity(writes.len());
    let mut replaced = None;
    let applied = writes
        .iter()
        .try_for_each(|write| {
            let before = cgroup.read(&write.file);
            cgroup.write(write)?;
            undo.extend(before.map(|before| previous(write, &before)));
            Ok(())
        })
        .and_then(|()| {
            let replace = |rules| cgroup.replace_devices(rules);
            replaced = rules.map(replace).transpose()?;
            Ok(())
        })
        // The last, because it cannot be put back.
        .and_then(|()| tell());
    applied.map_err(|error| put_back(cgroup, undo, replaced, error))
}

/// The error of an update, once what it changed is as it was.
fn put_back(
    cgroup: &Cgroup,
    undo: Vec<Write>,
    replaced: Option<Replaced>,
    error: anyhow::Error,
) -> anyhow::Error {
    let devices = replaced.map(|replaced| replaced.put_back(cgroup));
    let files = undo.iter().rev().map(|write| cgroup.write(write));
    let failed: Vec<String> = devices
        .into_iter()
        .chain(files)
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    if failed.is_empty() {
        return error;
    }
    anyhow!(
        "{error:#}; what was changed before could not be put back: {}",
        failed.join("; ")
    )
}

/// Everything to write, in an order that the kernel takes.
fn writes(resources: &LinuxResources, now: &Now) -> Result<Vec<Write>> {
    let mut wanted = resources.clone();
    if wanted.pids().as_ref().is_some_and(|pids| pids.limit() == 0) {
        // Callers older than the spec's word on it send all fields, and a 0 with them.
        wanted.set_pids(None);
    }
    let borrowed = borrow_memory_limit(&mut wanted, now)?;
    let mut writes = limits::writes(&wanted)?;
    if borrowed {
        writes.retain(|write| write.file != "memory.max");
    }
    memory_writes(resources, now, &mut writes)?;
    cpu_writes(resources, now, &mut writes);
    if resources
        .pids()
        .as_ref()
        .is_some_and(|pids| pids.limit() < 0)
    {
        writes.push(write("pids.limit", "pids", "pids.max", "max"));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", limit.page_size());
        ensure!(
            !file.contains('/'),
            "hugepageLimits: page size {:?}",
            limit.page_size()
        );
        if limit.limit() < 0 {
            writes.push(write("hugepageLimits", "hugetlb", &file, "max"));
            let file = format!("hugetlb.{}.rsvd.max", limit.page_size());
            writes.push(Write {
                optional: true,
                ..write("hugepageLimits", "hugetlb", &file, "max")
            });
        }
    }
    Ok(writes)
}

fn write(limit: &str, controller: &'static str, file: &str, value: impl Into<String>) -> Write {
    Write {
        limit: format!("linux.resources.{limit}"),
        controller: Some(controller.into()),
        file: file.to_owned(),
        value: value.into(),
        optional: false,
    }
}

/// OCI's "swap" counts memory too, so without a memory limit beside it the one that holds now
/// is meant.
fn borrow_memory_limit(wanted: &mut LinuxResources, now: &Now) -> Result<bool> {
    let Some(mut memory) = *wanted.memory() else {
        return Ok(false);
    };
    if memory.swap().is_none_or(|swap| swap <= 0) || memory.limit().is_some_and(|l| l != 0) {
        return Ok(false);
    }
    let limit: i64 = now.memory.trim().parse().ok().with_context(|| {
        "linux.resources.memory.swap counts memory and swap together, and the memory of this \
         container is not limited; give a memory limit beside it"
    })?;
    memory.set_limit(Some(limit));
    wanted.set_memory(Some(memory));
    Ok(true)
}

fn memory_writes(resources: &LinuxResources, now: &Now, writes: &mut Vec<Write>) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    check_usage(memory, now)?;
    // Both, as clients mean it that know cgroup v1.
    let swap = memory.swap().filter(|swap| *swap != 0);
    if swap.or(memory.limit()) == Some(-1) {
        let mut swap = write("memory.swap", "memory", "memory.swap.max", "max");
        // No such file when the kernel accounts no swap; then nothing limits it.
        swap.optional = true;
        writes.push(swap);
    }
    if memory.limit() == Some(-1) {
        writes.push(write("memory.limit", "memory", "memory.max", "max"));
    }
    if memory.reservation() == Some(-1) {
        writes.push(write("memory.reservation", "memory", "memory.low", "max"));
    }
    Ok(())
}

/// The kernel takes a limit below what is used, and kills for it; this says no where asked to.
fn check_usage(memory: &LinuxMemory, now: &Now) -> Result<()> {
    let Some(limit) = memory.limit().filter(|limit| *limit > 0) else {
        return Ok(());
    };
    let used: i64 = now.used.trim().parse().unwrap_or(0);
    ensure!(
        memory.check_before_update() != Some(true) || used <= limit,
        "linux.resources.memory.limit: {limit} is less than the {used} bytes in use \
         (checkBeforeUpdate is set)"
    );
    Ok(())
}

/// The quota and its period are in one file, and what of them is not named has to stay. A
/// burst may never be above the quota, and an idle cgroup has no weight to be set.
fn cpu_writes(resources: &LinuxResources, now: &Now, writes: &mut Vec<Write>) {
    let Some(cpu) = resources.cpu() else {
        return;
    };
    writes.retain(|write| write.file != "cpu.max");
    let quota = cpu
        .quota()
        .filter(|quota| *quota != 0)
        .map(|quota| match quota {
            ..0 => "max".to_owned(),
            quota => quota.to_string(),
        });
    let period = cpu.period().filter(|period| *period > 0);
    if quota.is_some() || period.is_some() {
        let limit = if quota.is_some() {
            "cpu.quota"
        } else {
            "cpu.period"
        };
        let mut held = now.cpu.split_ascii_whitespace();
        let held_quota = held.next().unwrap_or("max").to_owned();
        let held_period = held.next().unwrap_or("100000").to_owned();
        let value = format!(
            "{} {}",
            quota.unwrap_or(held_quota),
            period.map_or(held_period, |period| period.to_string())
        );
        let lowers = |burst| {
            now.burst
                .trim()
                .parse::<u64>()
                .is_ok_and(|held| burst < held)
        };
        let burst = writes
            .iter()
            .position(|write| write.file == "cpu.max.burst");
        let at = match (burst, cpu.burst()) {
            (Some(at), Some(burst)) if lowers(burst) => at + 1,
            (Some(at), _) => at,
            (None, _) => writes.len(),
        };
        writes.insert(at, write(limit, "cpu", "cpu.max", value));
    }
    if cpu.idle() == Some(0) {
        writes.insert(0, write("cpu.idle", "cpu", "cpu.idle", "0"));
    }
}

/// What puts back a file's content. Some files hold a line for each device, of which only one
/// was written.
fn previous(written: &Write, before: &str) -> Write {
    let by_device = |of: &str| written.file.starts_with(of);
    let keyed = written.file == "misc.max" || ["io.", "rdma.", "dmem."].into_iter().any(by_device);
    let value = match written.value.split_once(' ') {
        Some((key, rest)) if keyed => {
            let held = before
                .lines()
                .find(|line| line.split_ascii_whitespace().next() == Some(key));
            held.map_or_else(|| format!("{key} {}", unset(rest)), str::to_owned)
        }
        _ => before.to_owned(),
    };
    Write {
        value,
        ..written.clone()
    }
}

/// What says that nothing was set: `a=max` for each `a=1`, or the word for a weight.
fn unset(values: &str) -> String {
    let words = values
        .split_ascii_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, _)) => format!("{key}=max"),
            None => "default".to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

impl Cgroup {
    /// The whole text of a file; `None` if there is none.
    fn read(&self, file: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.fd().ok()?, file, flags, Mode::empty()).ok()?;
        std::io::read_to_string(std::fs::File::from(file)).ok()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use orlop_sys::bpf::device_programs;

    use super::*;

    fn now() -> Now {
        Now {
            cpu: "50000 200000\n".into(),
            burst: "10000\n".into(),
            memory: "1000\n".into(),
            used: "900\n".into(),
        }
    }

    fn lines(json: &str, now: &Now) -> Result<Vec<String>> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let writes = writes(&resources, now)?;
        Ok(writes
            .iter()
            .map(|w| format!("{}={}", w.file, w.value))
            .collect())
    }

    #[test]
    fn unlimited_is_written_and_the_rest_stays() {
        let cases: &[(&str, &[&str])] = &[
            ("{}", &[]),
            (r#"{"memory":{},"cpu":{},"pids":{},"blockIO":{}}"#, &[]),
            (
                r#"{"memory":{"limit":-1},"pids":{"limit":-1}}"#,
                &["memory.swap.max=max", "memory.max=max", "pids.max=max"],
            ),
            (r#"{"memory":{"swap":-1}}"#, &["memory.swap.max=max"]),
            (r#"{"memory":{"swap":1500}}"#, &["memory.swap.max=500"]),
            (
                r#"{"memory":{"swap":1500,"limit":1200,"reservation":-1}}"#,
                &["memory.swap.max=300", "memory.max=1200", "memory.low=max"],
            ),
            (r#"{"cpu":{"quota":-1}}"#, &["cpu.max=max 200000"]),
            (r#"{"cpu":{"quota":7000}}"#, &["cpu.max=7000 200000"]),
            (r#"{"cpu":{"period":5000}}"#, &["cpu.max=50000 5000"]),
            (
                r#"{"cpu":{"quota":70000,"burst":60000}}"#,
                &["cpu.max=70000 200000", "cpu.max.burst=60000"],
            ),
            (
                r#"{"cpu":{"quota":7000,"burst":0}}"#,
                &["cpu.max.burst=0", "cpu.max=7000 200000"],
            ),
            (
                r#"{"cpu":{"idle":0,"shares":1024}}"#,
                &["cpu.idle=0", "cpu.weight=100"],
            ),
            (
                r#"{"cpu":{"idle":1,"shares":1024}}"#,
                &["cpu.weight=100", "cpu.idle=1"],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":-1}]}"#,
                &["hugetlb.2MB.max=max", "hugetlb.2MB.rsvd.max=max"],
            ),
            (r#"{"blockIO":{"weight":10}}"#, &["io.weight=default 1"]),
        ];
        for (json, expected) in cases {
            assert_eq!(lines(json, &now()).unwrap(), *expected, "{json}");
        }
        let nothing = Now::default();
        assert_eq!(
            lines(r#"{"cpu":{"period":5000}}"#, &nothing).unwrap(),
            ["cpu.max=max 5000"]
        );
    }

    /// A file of the kernel's takes a whole value at once; one of a disk shows each write.
    #[test]
    fn nothing_is_written_before_systemd_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids.max");
        std::fs::write(&file, "5\n").unwrap();
        let cgroup = Cgroup::of(dir.path()).unwrap();
        let writes = [write("pids.limit", "pids", "pids.max", "1234567")];
        let held = || std::fs::read_to_string(&file).unwrap();
        let absent = |_: &[Write]| -> Result<fn() -> Result<()>> { bail!("no bus") };
        assert!(apply(&cgroup, &writes, None, absent).is_err());
        assert_eq!(held(), "5\n");
        apply(&cgroup, &writes, None, |_| Ok(|| Ok(()))).unwrap();
        assert_eq!(held(), "1234567");
    }

    /// As root, on a machine with cgroup v2.
    #[test]
    fn device_rules_are_put_back_when_systemd_refuses() {
        let Some(mount) = mount_point() else {
            return;
        };
        let path = mount.join(format!("orlop-unit-test-{}", std::process::id()));
        let Ok(made) = super::super::make_new(&path) else {
            return;
        };
        let cgroup = Cgroup::of(&path).unwrap();
        let attached = || device_programs(cgroup.fd().unwrap()).map(|all| all.len());
        if attached().is_err() {
            return;
        }
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(r#"[{"allow":false}]"#).unwrap();
        let all: Vec<LinuxDeviceCgroup> = serde_json::from_str(r#"[{"allow":true}]"#).unwrap();
        let refused = |rules: &[LinuxDeviceCgroup]| {
            let refuses = |_: &[Write]| Ok(|| bail!("refused"));
            apply(&cgroup, &[], Some(rules), refuses).unwrap_err();
        };
        refused(&rules);
        assert_eq!(attached().unwrap(), 0);
        apply(&cgroup, &[], Some(&rules), |_| Ok(|| Ok(()))).unwrap();
        refused(&all);
        assert_eq!(attached().unwrap(), 1);
        drop(made);
    }

    #[test]
    fn what_is_refused() {
        let checked = r#"{"memory":{"limit":800,"checkBeforeUpdate":true}}"#;
        let unlimited = Now {
            memory: "max\n".into(),
            ..now()
        };
        for (json, now, expected) in [
            (checked, &now(), "less than the 900 bytes in use"),
            (
                r#"{"memory":{"swap":1500}}"#,
                &unlimited,
                "give a memory limit",
            ),
            (r#"{"memory":{"swap":500}}"#, &now(), "together"),
            (
                r#"{"memory":{"swap":1500,"limit":-1}}"#,
                &now(),
                "needs a memory limit",
            ),
            (r#"{"cpu":{"realtimePeriod":5}}"#, &now(), "realtime"),
        ] {
            let error = format!("{:#}", lines(json, now).unwrap_err());
            assert!(error.contains(expected), "{json}: {error}");
        }
        let unchecked = checked.replace("true", "false");
        assert_eq!(lines(&unchecked, &now()).unwrap(), ["memory.max=800"]);
    }

    #[test]
    fn what_puts_it_back() {
        for (file, value, before, expected) in [
            ("pids.max", "5", "max\n", "max\n"),
            ("cpu.max", "5 100", "max 100000\n", "max 100000\n"),
            ("cpuset.cpus", "0", "\n", "\n"),
            (
                "io.weight",
                "default 5",
                "default 100\n8:0 7\n",
                "default 100",
            ),
            ("io.weight", "8:0 5", "default 100\n", "8:0 default"),
            (
                "io.max",
                "8:0 rbps=5",
                "8:16 rbps=max\n8:0 rbps=9 wbps=max\n",
                "8:0 rbps=9 wbps=max",
            ),
            ("io.max", "8:0 rbps=5", "", "8:0 rbps=max"),
            ("misc.max", "sev 5", "sev max\nsev_es 3\n", "sev max"),
            (
                "dmem.low",
                "drm/0/vram 5",
                "a 7\ndrm/0/vram 0\n",
                "drm/0/vram 0",
            ),
        ] {
            let undo = previous(&write("x", "io", file, value), before);
            assert_eq!(undo.value, expected, "{file} {value}");
        }
    }
}
