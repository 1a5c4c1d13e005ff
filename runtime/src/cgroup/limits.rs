//! `linux.resources` as what is to be written into the files of a cgroup. Pure.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

/// One write into one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// What in config.json asks for it.
    pub(crate) limit: String,
    /// The controller that has the file; `None` for cgroup core files.
    pub(crate) controller: Option<&'static str>,
    pub(crate) file: String,
    pub(crate) value: String,
    /// The wish is met without the file.
    pub(crate) optional: bool,
}

#[derive(Default)]
struct Writes(Vec<Write>);

impl Writes {
    fn add(&mut self, limit: &str, controller: &'static str, file: &str, value: String) {
        self.0.push(Write {
            limit: format!("linux.resources.{limit}"),
            controller: Some(controller),
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
        && pids.limit() > 0
    {
        writes.add("pids.limit", "pids", "pids.max", pids.limit().to_string());
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
            writes.add(
                "hugepageLimits",
                "hugetlb",
                &file,
                limit.limit().to_string(),
            );
        }
    }
    if resources
        .rdma()
        .as_ref()
        .is_some_and(|rdma| !rdma.is_empty())
    {
        bail!("linux.resources.rdma: not supported by this runtime");
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
            (-1, _) => None,
            (swap, Some(limit)) if swap >= limit => Some((swap - limit).to_string()),
            (swap, Some(limit)) => bail!(
                "linux.resources.memory.swap is {swap}, less than the memory limit {limit}; it \
                 counts memory and swap together"
            ),
            (_, None) => bail!("linux.resources.memory.swap needs a memory limit beside it"),
        };
        if let Some(value) = value {
            writes.add("memory.swap", "memory", "memory.swap.max", value);
            if let Some(write) = writes.0.last_mut() {
                // No such file when the kernel accounts no swap; "no swap" then holds already.
                write.optional = write.value == "0";
            }
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
        // The mapping that the cgroup v2 documentation of runc and systemd agree on.
        let weight = 1 + (shares - 2) * 9999 / 262_142;
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

fn io_writes(io: &LinuxBlockIo, writes: &mut Writes) -> Result<()> {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        ensure!(
            (10..=1000).contains(&weight),
            "linux.resources.blockIO.weight: {weight} is not within 10 to 1000"
        );
        let weight = 1 + (u64::from(weight) - 10) * 9999 / 990;
        writes.add(
            "blockIO.weight",
            "io",
            "io.weight",
            format!("default {weight}"),
        );
    }
    ensure!(
        io.weight_device().as_ref().is_none_or(Vec::is_empty),
        "linux.resources.blockIO.weightDevice: not supported by this runtime"
    );
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

/// Files named literally. A name must not lead out of the cgroup.
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
            .filter(|_| !file.contains('/'))
            .with_context(|| format!("{limit}: not the name of a cgroup v2 file"))?;
        let controller = match controller {
            "cgroup" => None,
            "cpu" => Some("cpu"),
            "cpuset" => Some("cpuset"),
            "hugetlb" => Some("hugetlb"),
            "io" => Some("io"),
            "memory" => Some("memory"),
            "misc" => Some("misc"),
            "pids" => Some("pids"),
            "rdma" => Some("rdma"),
            other => bail!("{limit}: there is no controller {other:?}"),
        };
        let (file, value) = (file.clone(), value.clone());
        writes.0.push(Write {
            limit,
            controller,
            file,
            value,
            optional: false,
        });
    }
    Ok(())
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
                &["cpu.weight=39", "cpuset.cpus=0-1"],
            ),
            (r#"{"cpu":{"shares":262144}}"#, &["cpu.weight=10000"]),
            (r#"{"pids":{"limit":200}}"#, &["pids.max=200"]),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":254,"minor":0,"rate":5}]}}"#,
                &["io.max=254:0 rbps=5"],
            ),
            (r#"{"unified":{"memory.high":"9"}}"#, &["memory.high=9"]),
        ];
        for (json, expected) in cases {
            assert_eq!(lines(json).unwrap(), *expected, "{json}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (json, expected) in [
            (r#"{"memory":{"swap":5}}"#, "needs a memory limit"),
            (r#"{"memory":{"limit":9,"swap":5}}"#, "together"),
            (r#"{"memory":{"swappiness":5}}"#, "swappiness"),
            (r#"{"cpu":{"shares":1}}"#, "not within"),
            (r#"{"unified":{"../x.y":"1"}}"#, "not the name"),
            (r#"{"unified":{"nope.max":"1"}}"#, "no controller"),
        ] {
            let got = format!("{:#}", lines(json).unwrap_err());
            assert!(got.contains(expected), "{json}: {got}");
        }
    }
}
