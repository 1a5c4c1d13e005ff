//! `update`: other limits for a container that exists.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::pause::own_cgroup;
use crate::cgroup;
use crate::config::read_resources;
use crate::log;
use crate::standing::Standing;
use crate::state::{Dir, Status};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// The resources as config.json has them, in a file or, for "-", on stdin
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    single: Single,
    id: String,
}

/// Limits one by one. Sizes may end in k, m, g or t; -1 is no limit.
#[derive(Debug, Default, clap::Args)]
struct Single {
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory: Option<i64>,
    /// Below this, memory is not taken away
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap together
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Quota as a number of processors, as in 1.5
    #[arg(long, value_parser = parse_cpus, conflicts_with = "cpu_quota")]
    cpus: Option<u64>,
    /// Microseconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    cpu_period: Option<u64>,
    /// Microseconds in each period
    #[arg(long, value_parser = parse_limit, allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Microseconds in which the quota may be exceeded
    #[arg(long)]
    cpu_burst: Option<u64>,
    /// Weight against other containers, 2 to 262144
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=262_144))]
    cpu_share: Option<u64>,
    /// 1: only when nobody else wants to run
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..=1))]
    cpu_idle: Option<i64>,
    #[arg(long, hide = true)]
    cpu_rt_period: Option<u64>,
    #[arg(long, hide = true, allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// As in 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    #[arg(long, value_parser = parse_limit, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// 10 to 1000
    #[arg(long, value_parser = clap::value_parser!(u16).range(10..=1000))]
    blkio_weight: Option<u16>,
    /// It was for cgroup v1, and is ignored with a warning as by runc
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true)]
    kernel_memory_tcp: Option<String>,
    #[arg(long, hide = true)]
    l3_cache_schema: Option<String>,
    #[arg(long, hide = true)]
    mem_bw_schema: Option<String>,
}

pub(crate) fn update(root: &Path, args: &Args) -> Result<()> {
    if args.single.limits_kernel_memory() {
        log::warn("--kernel-memory and --kernel-memory-tcp are ignored; --memory counts both");
    }
    let single = args.single.resources()?;
    let resources = match &args.resources {
        None => single.with_context(
            || "nothing to update: name a limit, such as --memory, or --resources FILE",
        )?,
        Some(file) => {
            ensure!(
                single.is_none(),
                "limits beside --resources: put them into the file"
            );
            read(file)?
        }
    };
    let id = &args.id;
    let dir = Dir::open(root, id)?;
    let record = dir.created_record()?;
    match dir.status(&record)? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => bail!("container not running: {id} has stopped"),
    }
    let (path, scope) = (own_cgroup(&record)?, record.scope.as_ref());
    cgroup::update(path, scope, &resources, Standing::here()?)
        .with_context(|| format!("update container {id}"))
}

fn read(file: &Path) -> Result<LinuxResources> {
    if file == Path::new("-") {
        return read_resources(Path::new("stdin"), std::io::stdin().lock());
    }
    let opened = std::fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
    read_resources(file, opened)
}

impl Single {
    fn limits_kernel_memory(&self) -> bool {
        self.kernel_memory.is_some() || self.kernel_memory_tcp.is_some()
    }

    /// As they would be in a file; `None` if there are none.
    fn resources(&self) -> Result<Option<LinuxResources>> {
        ensure!(
            self.l3_cache_schema.is_none() && self.mem_bw_schema.is_none(),
            "--l3-cache-schema and --mem-bw-schema: Intel RDT is not supported by this runtime"
        );
        let quota = match self.cpus {
            Some(millionths) => Some(
                i64::try_from(
                    u128::from(millionths) * u128::from(self.cpu_period.unwrap_or(100_000))
                        / 1_000_000,
                )
                .context("--cpus: too many")?,
            ),
            None => self.cpu_quota,
        };
        // A quota for the usual period, whatever the container's was.
        let period = self.cpu_period.or(self.cpus.map(|_| 100_000));
        let mut all = json!({
            "memory": {
                "limit": self.memory,
                "reservation": self.memory_reservation,
                "swap": self.memory_swap,
            },
            "cpu": {
                "shares": self.cpu_share,
                "quota": quota,
                "period": period,
                "burst": self.cpu_burst,
                "idle": self.cpu_idle,
                "realtimePeriod": self.cpu_rt_period,
                "realtimeRuntime": self.cpu_rt_runtime,
                "cpus": self.cpuset_cpus,
                "mems": self.cpuset_mems,
            },
            "pids": { "limit": self.pids_limit },
            "blockIO": { "weight": self.blkio_weight },
        });
        drop_empty(&mut all);
        if all == json!({}) && !self.limits_kernel_memory() {
            return Ok(None);
        }
        Ok(Some(crate::document::part(&all)?))
    }
}

/// Takes out what was not given.
fn drop_empty(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.values_mut().for_each(drop_empty);
        fields.retain(|_, value| !value.is_null() && *value != json!({}));
    }
}

/// -1, or more than 0: a 0 in resources means that nothing is said, so it would be ignored.
fn parse_limit(text: &str) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|limit| *limit == -1 || *limit > 0)
        .ok_or_else(|| format!("{text:?}: give a number above 0, or -1 for no limit"))
}

/// The same with a binary unit.
fn parse_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?}: give a number of bytes, as in 67108864 or 64m, or -1");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

/// A decimal number in millionths.
fn parse_cpus(text: &str) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = (digits(whole) && digits(part) && !whole.is_empty() && part.len() <= 6)
        .then(|| format!("{whole}{part:0<6}").parse::<u64>().ok())
        .flatten();
    parsed
        .filter(|millionths| *millionths > 0)
        .ok_or_else(|| format!("{text:?}: give a number of processors, as in 1.5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("-1", -1),
            ("64", 64),
            ("1k", 1024),
            ("64M", 64 << 20),
            ("1GiB", 1 << 30),
            ("2tb", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "0",
            "0k",
            "-2",
            "m",
            "1x",
            "1 k",
            "9223372036854775807k",
            "+1",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(parse_limit("-1").unwrap(), -1);
        assert_eq!(parse_limit("7").unwrap(), 7);
        for text in ["", "0", "-2", "max", "7k"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors() {
        for (text, expected) in [("1", 1_000_000), ("1.5", 1_500_000), ("0.000001", 1)] {
            assert_eq!(parse_cpus(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "0",
            ".5",
            "-1",
            "1.2.3",
            "1e3",
            "0.0000001",
            "99999999999999",
        ] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_resources() {
        let resources = |single: Single| {
            let resources = single.resources().unwrap();
            resources.map(|resources| serde_json::to_value(resources).unwrap())
        };
        assert_eq!(resources(Single::default()), None);
        let some = Single {
            memory: Some(-1),
            cpus: Some(1_500_000),
            cpu_idle: Some(0),
            pids_limit: Some(5),
            ..Single::default()
        };
        assert_eq!(
            resources(some).unwrap(),
            json!({
                "memory": { "limit": -1 },
                "cpu": { "quota": 150_000, "period": 100_000, "idle": 0 },
                "pids": { "limit": 5 },
            })
        );
        let kernel = Single {
            kernel_memory_tcp: Some("1m".into()),
            ..Single::default()
        };
        assert_eq!(resources(kernel), Some(json!({})));
        let rdt = Single {
            l3_cache_schema: Some("x".into()),
            ..Single::default()
        };
        assert!(rdt.resources().unwrap_err().to_string().contains("RDT"));
    }
}
