//! `linux.resources` as what is to be written into the files of a cgroup. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice,
};

/// One write into one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// What in config.json asks for it.
    pub(crate) limit: String,
    /// The controller that has the file; `None` for cgroup core files.
    pub(crate) controller: Option<Cow<'static, str>>,
    pub(crate) file: String,
    pub(crate) value: String,
    /// The wish is met without the file.
    pub(crate) optional: bool,
}

#[derive(Default)]
struct Writes(Vec<Write>);

impl Writes {
    /// As `add`, for what holds already where there is no such file.
    fn add_optional(&mut self, limit: &str, controller: &'static str, file: &str, value: String) {
        self.add(limit, controller, file, value);
        if let Some(write) = self.0.last_mut() {
            write.optional = true;
        }
    }

    fn add(&mut self, limit: &str, controller: &'static str, file: &str, value: String) {
        self.0.push(Write {
            limit: format!("linux.resources.{limit}"),
            controller: Some(controller.into()),
            file: file.to_owned(),
            value,
            optional: false,
        });
    }
}

/// Every limit that is asked for. "Unlimited" is what a new cgroup has already, so it asks for
/// nothing.
pub(crate) fn writes(resources: &LinuxResources) -> Result<Vec<Write>> {
    let mut writes = Writes::default();
    if let Some(memory) = resources.memory() {
        memory_writes(memory, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_writes(cpu, &mut writes)?;
    }
    if let Some(pids) = resources.pids()
        && pids.limit() >= 0
    {
        // 0 is a limit, by the spec. Of the container's own process there is one all the same:
        // it is born in the cgroup, which has to allow for it.
        let limit = pids.limit().max(1).to_string();
        writes.add("pids.limit", "pids", "pids.max", limit);
    }
    if let Some(io) = resources.block_io() {
        io_writes(io, &mut writes)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        if limit.limit() >= 0 {
            let file = format!("hugetlb.{}.max", limit.page_size());
            ensure!(
                !file.contains('/'),
                "hugepageLimits: page size {:?}",
                limit.page_size()
            );
            let value = limit.limit().to_string();
            writes.add("hugepageLimits", "hugetlb", &file, value.clone());
            // Where the kernel counts reservations, what is over the limit fails when it is
            // mapped, and not by a signal when it is used.
            let file = format!("hugetlb.{}.rsvd.max", limit.page_size());
            writes.add_optional("hugepageLimits", "hugetlb", &file, value);
        }
    }
    if let Some(devices) = resources.rdma() {
        rdma_writes(devices, &mut writes)?;
    }
    if resources.network().as_ref().is_some_and(|network| {
        network.class_id().is_some() || network.priorities().as_ref().is_some_and(|p| !p.is_empty())
    }) {
        bail!("linux.resources.network: belongs to cgroup v1, which is not supported");
    }
    unified_writes(resources, &mut writes)?;
    Ok(writes.0)
}

fn memory_writes(memory: &LinuxMemory, writes: &mut Writes) -> Result<()> {
    let limit = memory.limit().filter(|limit| *limit > 0);
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
        // OCI's "swap" is memory and swap together, the kernel's is swap alone.
        let value = match (swap, limit) {
            (-1, limit) => limit.map(|_| "max".to_owned()),
            (swap, Some(limit)) if swap >= limit => Some((swap - limit).to_string()),
            (swap, Some(limit)) => bail!(
                "linux.resources.memory.swap is {swap}, less than the memory limit {limit}; it \
                 counts memory and swap together"
            ),
            (_, None) => bail!("linux.resources.memory.swap needs a memory limit beside it"),
        };
        let (limit, file) = ("memory.swap", "memory.swap.max");
        match value.as_deref() {
            None => {}
            // No such file when the kernel accounts no swap; both then hold already.
            Some(value @ ("0" | "max")) => {
                writes.add_optional(limit, "memory", file, value.into());
            }
            Some(value) => writes.add(limit, "memory", file, value.into()),
        }
    }
    if let Some(limit) = limit {
        writes.add("memory.limit", "memory", "memory.max", limit.to_string());
    }
    if let Some(low) = memory.reservation().filter(|low| *low > 0) {
        writes.add(
            "memory.reservation",
            "memory",
            "memory.low",
            low.to_string(),
        );
    }
    for (name, bytes) in [
        ("kernel", memory.kernel()),
        ("kernelTCP", memory.kernel_tcp()),
    ] {
        ensure!(
            bytes.is_none_or(|bytes| bytes <= 0),
            "linux.resources.memory.{name}: cgroup v2 cannot do that; memory.limit counts it too"
        );
    }
    ensure!(
        memory.use_hierarchy() != Some(false),
        "linux.resources.memory.useHierarchy: cgroup v2 always does that"
    );
    ensure!(
        memory.disable_oom_killer() != Some(true),
        "linux.resources.memory.disableOOMKiller: cgroup v2 cannot do that"
    );
    ensure!(
        memory.swappiness().is_none(),
        "linux.resources.memory.swappiness: cgroup v2 cannot do that"
    );
    Ok(())
}

fn cpu_writes(cpu: &LinuxCpu, writes: &mut Writes) -> Result<()> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        ensure!(
            (2..=262_144).contains(&shares),
            "linux.resources.cpu.shares: {shares} is not within 2 to 262144"
        );
        let weight = weight_of(shares);
        writes.add("cpu.shares", "cpu", "cpu.weight", weight.to_string());
    }
    if cpu.idle() == Some(1) {
        writes.add("cpu.idle", "cpu", "cpu.idle", "1".into());
    }
    let quota = cpu.quota().filter(|quota| *quota > 0);
    let period = cpu.period().filter(|period| *period > 0);
    if quota.is_some() || period.is_some() {
        let quota = quota.map_or("max".into(), |quota| quota.to_string());
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        writes.add("cpu.quota", "cpu", "cpu.max", value);
    }
    if let Some(burst) = cpu.burst() {
        writes.add("cpu.burst", "cpu", "cpu.max.burst", burst.to_string());
    }
    ensure!(
        cpu.realtime_runtime().unwrap_or(0) == 0 && cpu.realtime_period().unwrap_or(0) == 0,
        "linux.resources.cpu.realtime*: cgroup v2 cannot do that"
    );
    for (name, file, list) in [
        ("cpu.cpus", "cpuset.cpus", cpu.cpus()),
        ("cpu.mems", "cpuset.mems", cpu.mems()),
    ] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            writes.add(name, "cpuset", file, list.to_owned());
        }
    }
    Ok(())
}

/// The weight in cgroup v2 for shares of v1, 2 to 262144: 1 to 10000, and 100 for the usual 1024.
/// runc and crun have it so by now; in the older, straight line 1024 was 39, and a container had
/// less than a process without any weight.
fn weight_of(shares: u64) -> u64 {
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

fn io_writes(io: &LinuxBlockIo, writes: &mut Writes) -> Result<()> {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let weight = io_weight("blockIO.weight", weight)?;
        writes.add(
            "blockIO.weight",
            "io",
            "io.weight",
            format!("default {weight}"),
        );
    }
    refuse_leaf_weight("blockIO.leafWeight", io.leaf_weight())?;
    for device in io.weight_device().iter().flatten() {
        const NAME: &str = "blockIO.weightDevice";
        let number = format!("{}:{}", device.major(), device.minor());
        refuse_leaf_weight(NAME, device.leaf_weight())?;
        let weight = device.weight().filter(|weight| *weight != 0);
        let weight =
            weight.with_context(|| format!("linux.resources.{NAME}: {number} has no weight"))?;
        let weight = io_weight(NAME, weight)?;
        writes.add(NAME, "io", "io.weight", format!("{number} {weight}"));
    }
    let kinds: [(&str, &str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        (
            "throttleReadBpsDevice",
            "rbps",
            io.throttle_read_bps_device(),
        ),
        (
            "throttleWriteBpsDevice",
            "wbps",
            io.throttle_write_bps_device(),
        ),
        (
            "throttleReadIOPSDevice",
            "riops",
            io.throttle_read_iops_device(),
        ),
        (
            "throttleWriteIOPSDevice",
            "wiops",
            io.throttle_write_iops_device(),
        ),
    ];
    for (name, key, devices) in kinds {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 {
                "max".into()
            } else {
                device.rate().to_string()
            };
            let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
            writes.add(&format!("blockIO.{name}"), "io", "io.max", value);
        }
    }
    Ok(())
}

/// From 10 to 1000, as the spec has it, to 1 to 10000.
fn io_weight(name: &str, weight: u16) -> Result<u64> {
    ensure!(
        (10..=1000).contains(&weight),
        "linux.resources.{name}: {weight} is not within 10 to 1000"
    );
    Ok(1 + (u64::from(weight) - 10) * 9999 / 990)
}

fn refuse_leaf_weight(name: &str, weight: Option<u16>) -> Result<()> {
    ensure!(
        weight.is_none_or(|weight| weight == 0),
        "linux.resources.{name}: a leafWeight belongs to cgroup v1, which is not supported"
    );
    Ok(())
}

fn rdma_writes(devices: &HashMap<String, LinuxRdma>, writes: &mut Writes) -> Result<()> {
    let mut devices: Vec<_> = devices.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limits) in devices {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != '=');
        ensure!(plain, "linux.resources.rdma: {name:?} names no device");
        let handles = limits.hca_handles().map(|n| format!(" hca_handle={n}"));
        let objects = limits.hca_objects().map(|n| format!(" hca_object={n}"));
        ensure!(
            handles.is_some() || objects.is_some(),
            "linux.resources.rdma: {name}: neither hcaHandles nor hcaObjects is given"
        );
        let value = [
            name.clone(),
            handles.unwrap_or_default(),
            objects.unwrap_or_default(),
        ];
        writes.add("rdma", "rdma", "rdma.max", value.concat());
    }
    Ok(())
}

/// Files named literally, of controllers that nobody here has heard of, too. A name must not lead
/// out of the cgroup.
fn unified_writes(resources: &LinuxResources, writes: &mut Writes) -> Result<()> {
    let Some(unified) = resources.unified() else {
        return Ok(());
    };
    let mut entries: Vec<_> = unified.iter().collect();
    entries.sort();
    for (file, value) in entries {
        let limit = format!("linux.resources.unified[{file:?}]");
        let (controller, _) = file
            .split_once('.')
            .filter(|(controller, _)| !controller.is_empty() && !file.contains('/'))
            .with_context(|| format!("{limit}: not the name of a cgroup v2 file"))?;
        let controller = (controller != "cgroup").then(|| controller.to_owned().into());
        writes.0.extend(lines(value).map(|line| Write {
            limit: limit.clone(),
            controller: controller.clone(),
            file: file.clone(),
            value: line.to_owned(),
            optional: false,
        }));
    }
    Ok(())
}

/// One write each: the kernel takes one device at a time. A value with nothing in it is written
/// as it is.
fn lines(value: &str) -> impl Iterator<Item = &str> {
    let some = value.lines().filter(|line| !line.trim().is_empty());
    let nothing = value.trim().is_empty().then_some(value);
    some.chain(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Result<Vec<String>> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        Ok(writes(&resources)?
            .into_iter()
            .map(|w| format!("{}={}", w.file, w.value))
            .collect())
    }

    #[test]
    fn what_is_written() {
        let cases: &[(&str, &[&str])] = &[
            ("{}", &[]),
            (
                r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#,
                &[],
            ),
            (r#"{"memory":{"limit":1048576}}"#, &["memory.max=1048576"]),
            (
                r#"{"memory":{"limit":100,"swap":150,"reservation":50}}"#,
                &["memory.swap.max=50", "memory.max=100", "memory.low=50"],
            ),
            (r#"{"cpu":{"quota":50000}}"#, &["cpu.max=50000 100000"]),
            (
                r#"{"cpu":{"quota":-1,"period":200000}}"#,
                &["cpu.max=max 200000"],
            ),
            (
                r#"{"cpu":{"shares":1024,"cpus":"0-1"}}"#,
                &["cpu.weight=100", "cpuset.cpus=0-1"],
            ),
            (r#"{"cpu":{"shares":262144}}"#, &["cpu.weight=10000"]),
            (r#"{"cpu":{"shares":2}}"#, &["cpu.weight=1"]),
            (r#"{"pids":{"limit":200}}"#, &["pids.max=200"]),
            (r#"{"pids":{"limit":0}}"#, &["pids.max=1"]),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":254,"minor":0,"rate":5}]}}"#,
                &["io.max=254:0 rbps=5"],
            ),
            (r#"{"unified":{"memory.high":"9"}}"#, &["memory.high=9"]),
            (
                r#"{"unified":{"io.max":"259:0 rbps=5\n\n253:0 rbps=7\n","cpuset.cpus":""}}"#,
                &["cpuset.cpus=", "io.max=259:0 rbps=5", "io.max=253:0 rbps=7"],
            ),
            (r#"{"unified":{"new.max":"1"}}"#, &["new.max=1"]),
            (
                r#"{"memory":{"limit":100,"swap":-1,"kernel":-1,"useHierarchy":true}}"#,
                &["memory.swap.max=max", "memory.max=100"],
            ),
            (
                r#"{"blockIO":{"weight":10,"leafWeight":0,
                    "weightDevice":[{"major":8,"minor":16,"weight":1000}]}}"#,
                &["io.weight=default 1", "io.weight=8:16 10000"],
            ),
            (
                r#"{"rdma":{"rxe3":{"hcaObjects":9},"mlx5_1":{"hcaHandles":3,"hcaObjects":0}}}"#,
                &[
                    "rdma.max=mlx5_1 hca_handle=3 hca_object=0",
                    "rdma.max=rxe3 hca_object=9",
                ],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}"#,
                &["hugetlb.2MB.max=4", "hugetlb.2MB.rsvd.max=4"],
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(lines(json).unwrap(), *expected, "{json}");
        }
    }

    /// What holds without the file as well must not ask for the file.
    #[test]
    fn what_is_optional() {
        let optional = |json: &str| {
            let resources: LinuxResources = serde_json::from_str(json).unwrap();
            let all = writes(&resources).unwrap().into_iter();
            let some = all.filter(|write| write.optional);
            some.map(|write| write.file).collect::<Vec<_>>()
        };
        for (json, expected) in [
            (
                r#"{"memory":{"limit":9,"swap":9}}"#,
                vec!["memory.swap.max"],
            ),
            (
                r#"{"memory":{"limit":9,"swap":-1}}"#,
                vec!["memory.swap.max"],
            ),
            (r#"{"memory":{"limit":9,"swap":10}}"#, vec![]),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}"#,
                vec!["hugetlb.2MB.rsvd.max"],
            ),
        ] {
            assert_eq!(optional(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (json, expected) in [
            (r#"{"memory":{"swap":5}}"#, "needs a memory limit"),
            (r#"{"memory":{"limit":9,"swap":5}}"#, "together"),
            (r#"{"memory":{"swappiness":5}}"#, "swappiness"),
            (r#"{"memory":{"kernel":9}}"#, "memory.kernel"),
            (r#"{"memory":{"kernelTCP":9}}"#, "memory.kernelTCP"),
            (r#"{"memory":{"useHierarchy":false}}"#, "useHierarchy"),
            (r#"{"blockIO":{"leafWeight":10}}"#, "cgroup v1"),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":10,"leafWeight":9}]}}"#,
                "weightDevice: a leafWeight",
            ),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#,
                "8:0 has no weight",
            ),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":9}]}}"#,
                "weightDevice: 9 is not within",
            ),
            (r#"{"rdma":{"a b":{"hcaObjects":9}}}"#, "names no device"),
            (r#"{"rdma":{"mlx":{}}}"#, "neither"),
            (r#"{"cpu":{"shares":1}}"#, "not within"),
            (r#"{"unified":{"../x.y":"1"}}"#, "not the name"),
            (r#"{"unified":{"..":"1"}}"#, "not the name"),
            (r#"{"unified":{"procs":"1"}}"#, "not the name"),
        ] {
            let got = format!("{:#}", lines(json).unwrap_err());
            assert!(got.contains(expected), "{json}: {got}");
        }
    }
}
