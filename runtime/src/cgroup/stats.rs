//! What a cgroup used so far, in the shape in which runc prints it.
//!
//! A file that is missing, as all of a controller's are where it is not enabled, counts as
//! zeros, as other runtimes have it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::watched::flat;

/// The text of a file of the cgroup.
type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

/// What the cgroup used so far.
pub(crate) fn stats(path: &Path) -> Value {
    let mut sizes: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
            (!size.contains('.')).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    let read = |file: &str| std::fs::read_to_string(path.join(file)).ok();
    document(&read, &sizes)
}

/// All statistics. `page_sizes` are those of huge pages, as the names of files have them.
fn document(read: Read<'_>, page_sizes: &[String]) -> Value {
    let pids =
        json!({ "current": number(read, "pids.current"), "limit": number(read, "pids.max") });
    let huge: Map<String, Value> = page_sizes
        .iter()
        .map(|size| (size.clone(), huge_pages(read, size)))
        .collect();
    json!({
        "cpu": cpu(read),
        "cpuset": cpuset(read),
        "memory": memory(read),
        "pids": pids,
        "blkio": io(read),
        "hugetlb": huge,
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// A number; 0 where there is another word, as "max" is for a limit of processes.
fn number(read: Read<'_>, file: &str) -> u64 {
    let text = read(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// A limit of memory, of which "none" is the greatest number.
fn memory_limit(read: Read<'_>, file: &str) -> u64 {
    match read(file).as_deref().map(str::trim) {
        Some("max") => u64::MAX,
        Some(text) => text.parse().unwrap_or(0),
        None => 0,
    }
}

/// Microseconds in the kernel's files, nanoseconds in what is printed.
fn cpu(read: Read<'_>) -> Value {
    let text = read("cpu.stat").unwrap_or_default();
    let count = |key: &str| flat(&text, key).unwrap_or(0);
    let time = |key: &str| count(key).saturating_mul(1000);
    let mut cpu = json!({
        "usage": {
            "total": time("usage_usec"),
            "kernel": time("system_usec"),
            "user": time("user_usec"),
        },
        "throttling": {
            "periods": count("nr_periods"),
            "throttledPeriods": count("nr_throttled"),
            "throttledTime": time("throttled_usec"),
        },
    });
    add_pressure(&mut cpu, read("cpu.pressure"));
    cpu
}

/// The fields after "mems" are of cgroup v1; clients expect them to be there.
fn cpuset(read: Read<'_>) -> Value {
    let list = |file: &str| numbers(&read(file).unwrap_or_default());
    json!({
        "cpus": list("cpuset.cpus.effective"),
        "cpu_exclusive": 0,
        "mems": list("cpuset.mems.effective"),
        "mem_hardwall": 0,
        "mem_exclusive": 0,
        "memory_migrate": 0,
        "memory_spread_page": 0,
        "memory_spread_slab": 0,
        "memory_pressure": 0,
        "sched_load_balance": 0,
        "sched_relax_domain_level": 0,
    })
}

/// `0-2,5` as numbers.
fn numbers(list: &str) -> Vec<u16> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

/// Swap is counted with memory, as it was in cgroup v1: that is what clients expect.
fn memory(read: Read<'_>) -> Value {
    let raw = map(&read("memory.stat").unwrap_or_default());
    let events = map(&read("memory.events").unwrap_or_default());
    let refused = |events: &Map<String, Value>| events.get("max").cloned().unwrap_or(json!(0));
    let (usage, most) = (
        number(read, "memory.current"),
        memory_limit(read, "memory.max"),
    );
    let swap = map(&read("memory.swap.events").unwrap_or_default());
    let swap_most = match memory_limit(read, "memory.swap.max") {
        u64::MAX => u64::MAX,
        swap => most.saturating_add(swap),
    };
    let nothing = json!({ "limit": 0, "failcnt": 0 });
    let mut memory = json!({
        "cache": raw.get("file").cloned().unwrap_or(json!(0)),
        "usage": {
            "limit": most,
            "usage": usage,
            "max": number(read, "memory.peak"),
            "failcnt": refused(&events),
        },
        "swap": {
            "limit": swap_most,
            "usage": usage.saturating_add(number(read, "memory.swap.current")),
            "max": number(read, "memory.swap.peak"),
            "failcnt": refused(&swap),
        },
        "kernel": nothing,
        "kernelTCP": nothing,
        "raw": raw,
        "event_count": events,
    });
    add_pressure(&mut memory, read("memory.pressure"));
    memory
}

/// `key number` lines as an object.
fn map(text: &str) -> Map<String, Value> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), json!(value.trim().parse::<u64>().ok()?)))
    });
    pairs.collect()
}

/// io.stat has one line a device: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn io(read: Read<'_>) -> Value {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in read("io.stat").unwrap_or_default().lines() {
        let mut words = line.split_ascii_whitespace();
        let device = words.next().and_then(|word| word.split_once(':'));
        let Some((major, minor)) =
            device.and_then(|(a, b)| Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?)))
        else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                // Discarded: runc's shape has no place for that.
                _ => continue,
            };
            let value = value.parse::<u64>().unwrap_or(0);
            list.push(json!({ "major": major, "minor": minor, "op": operation, "value": value }));
        }
    }
    let mut io = json!({
        "ioServiceBytesRecursive": bytes,
        "ioServicedRecursive": operations,
    });
    add_pressure(&mut io, read("io.pressure"));
    io
}

fn huge_pages(read: Read<'_>, size: &str) -> Value {
    let events = read(&format!("hugetlb.{size}.events")).unwrap_or_default();
    json!({
        "usage": number(read, &format!("hugetlb.{size}.current")),
        "failcnt": flat(&events, "max").unwrap_or(0),
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line for "full".
fn add_pressure(to: &mut Value, text: Option<String>) {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return;
    };
    let mut pressure = Map::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let fields: Map<String, Value> = words
            .filter_map(|word| {
                let (key, value) = word.split_once('=')?;
                let value = match key {
                    "total" => json!(value.parse::<u64>().ok()?),
                    _ => json!(value.parse::<f64>().ok()?),
                };
                Some((key.to_owned(), value))
            })
            .collect();
        pressure.insert(name.to_owned(), Value::Object(fields));
    }
    to["psi"] = Value::Object(pressure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<String> {
        let text = match name {
            "cpu.stat" => {
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n"
            }
            "cpu.pressure" => {
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
            }
            "cpuset.cpus.effective" => "0-2,5\n",
            "memory.current" => "1000\n",
            "memory.max" => "max\n",
            "memory.peak" => "2000\n",
            "memory.swap.current" => "50\n",
            "memory.swap.max" => "70\n",
            "memory.stat" => "anon 5\nfile 6\n",
            "memory.events" => "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n",
            "pids.current" => "3\n",
            "pids.max" => "max\n",
            "io.stat" => "254:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nnonsense\n",
            "hugetlb.2MB.current" => "4096\n",
            "hugetlb.2MB.events" => "max 8\n",
            _ => return None,
        };
        Some(text.to_owned())
    }

    #[test]
    fn the_shape_is_runcs() {
        let stats = document(&file, &["2MB".to_owned()]);
        for (pointer, expected) in [
            (
                "/cpu/usage",
                json!({"total": 30_000, "kernel": 10_000, "user": 20_000}),
            ),
            (
                "/cpu/throttling",
                json!({"periods": 3, "throttledPeriods": 2, "throttledTime": 7000}),
            ),
            ("/cpu/psi/some/avg10", json!(1.5)),
            ("/cpu/psi/some/total", json!(9)),
            ("/cpuset/cpus", json!([0, 1, 2, 5])),
            ("/cpuset/mems", json!([])),
            (
                "/memory/usage",
                json!({"limit": u64::MAX, "usage": 1000, "max": 2000, "failcnt": 4}),
            ),
            ("/memory/swap/limit", json!(u64::MAX)),
            ("/memory/swap/usage", json!(1050)),
            ("/memory/cache", json!(6)),
            ("/memory/raw", json!({"anon": 5, "file": 6})),
            ("/memory/event_count/oom_kill", json!(1)),
            ("/pids", json!({"current": 3, "limit": 0})),
            (
                "/blkio/ioServiceBytesRecursive/1",
                json!({"major": 254, "minor": 1, "op": "Write", "value": 2}),
            ),
            (
                "/blkio/ioServicedRecursive/0",
                json!({"major": 254, "minor": 1, "op": "Read", "value": 3}),
            ),
            ("/hugetlb/2MB", json!({"usage": 4096, "failcnt": 8})),
        ] {
            assert_eq!(stats.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn without_controllers_all_is_zero() {
        let stats = document(&|_| None, &[]);
        assert_eq!(stats["memory"]["usage"]["usage"], 0);
        assert_eq!(stats["cpu"]["usage"]["total"], 0);
        assert_eq!(stats["hugetlb"], json!({}));
    }
}
