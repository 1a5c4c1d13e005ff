//! What systemd is told of a container's limits. Pure.
//!
//! systemd writes the files of a scope's cgroup itself, whenever it reads its configuration
//! again: what it does not know of would be gone then.

use crate::cgroup::limits::Write;

/// A property of a unit.
pub(super) type Property = (String, Value);

/// As D-Bus has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Text(String),
    Texts(Vec<String>),
    /// Process ids.
    Numbers(Vec<u32>),
    /// A set of small numbers, by bits.
    Bytes(Vec<u8>),
    /// A number for a device.
    Device(String, u64),
}

/// No limit, or for a weight: none of its own.
const INFINITY: u64 = u64::MAX;

/// A hundredth of a processor in microseconds a second: systemd keeps quotas no finer than that.
const PERCENT_US: u64 = 10_000;

/// The highest processor or memory node that is taken for one.
const HIGHEST: usize = 65_535;

/// The property `name`.
pub(super) fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

/// Quotas as systemd is going to write them, so that one and the same holds before and after it
/// does: rounded up.
pub(in crate::cgroup) fn round(writes: &mut [Write]) {
    for write in writes.iter_mut().filter(|write| write.file == "cpu.max") {
        if let Some((Some(quota), period)) = quota(&write.value) {
            let quota = u128::from(per_second(quota, period)) * u128::from(period) / 1_000_000;
            write.value = format!("{quota} {period}");
        }
    }
}

/// What of the writes systemd has properties for. The rest it leaves alone.
pub(super) fn of(writes: &[Write]) -> Vec<Property> {
    let mut all: Vec<Property> = writes.iter().flat_map(single).collect();
    // Both are of one property, and the kernel takes no weight for an idle cgroup.
    let idle = property("CPUWeight", Value::U64(0));
    if all.contains(&idle) {
        all.retain(|other| other.0 != idle.0 || *other == idle);
    }
    all
}

fn single(write: &Write) -> Vec<Property> {
    let value = write.value.trim();
    let number = |name: &str| {
        let number = if value == "max" {
            Some(INFINITY)
        } else {
            value.parse().ok()
        };
        number.map(|number| property(name, Value::U64(number)))
    };
    let bits = |name: &str| set(value).map(|bits| property(name, Value::Bytes(bits)));
    let one = match write.file.as_str() {
        "memory.min" => number("MemoryMin"),
        "memory.low" => number("MemoryLow"),
        "memory.high" => number("MemoryHigh"),
        "memory.max" => number("MemoryMax"),
        "memory.swap.max" => number("MemorySwapMax"),
        // It takes no 0, and one process is as many as there are.
        "pids.max" if value == "0" => Some(property("TasksMax", Value::U64(1))),
        "pids.max" => number("TasksMax"),
        "cpu.weight" => number("CPUWeight"),
        "cpu.idle" if value == "1" => Some(property("CPUWeight", Value::U64(0))),
        "cpu.idle" => Some(property("CPUWeight", Value::U64(INFINITY))),
        "cpuset.cpus" => bits("AllowedCPUs"),
        "cpuset.mems" => bits("AllowedMemoryNodes"),
        "cpu.max" => return cpu(value),
        "io.weight" => return io_weight(value),
        "io.max" => return io(value),
        _ => None,
    };
    one.into_iter().collect()
}

fn cpu(value: &str) -> Vec<Property> {
    let Some((quota, period)) = quota(value) else {
        return Vec::new();
    };
    let per_second = quota.map_or(INFINITY, |quota| per_second(quota, period));
    vec![
        property("CPUQuotaPeriodUSec", Value::U64(period)),
        property("CPUQuotaPerSecUSec", Value::U64(per_second)),
    ]
}

/// Quota, if any, and period.
fn quota(value: &str) -> Option<(Option<u64>, u64)> {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    let period = period.trim().parse().ok().filter(|period| *period > 0)?;
    match quota {
        "max" => Some((None, period)),
        quota => Some((Some(quota.parse().ok()?), period)),
    }
}

fn per_second(quota: u64, period: u64) -> u64 {
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    let rounded = exact.div_ceil(PERCENT_US.into()) * u128::from(PERCENT_US);
    u64::try_from(rounded).unwrap_or(INFINITY)
}

fn io_weight(value: &str) -> Vec<Property> {
    let (whose, weight) = value.split_once(' ').unwrap_or(("default", value));
    let Ok(weight) = weight.trim().parse() else {
        return Vec::new();
    };
    vec![match whose {
        "default" => property("IOWeight", Value::U64(weight)),
        device => property("IODeviceWeight", Value::Device(node(device), weight)),
    }]
}

fn io(value: &str) -> Vec<Property> {
    let mut words = value.split_ascii_whitespace();
    let device = node(words.next().unwrap_or_default());
    words
        .filter_map(|word| {
            let (key, rate) = word.split_once('=')?;
            let name = match key {
                "rbps" => "IOReadBandwidthMax",
                "wbps" => "IOWriteBandwidthMax",
                "riops" => "IOReadIOPSMax",
                "wiops" => "IOWriteIOPSMax",
                _ => return None,
            };
            let rate = match rate {
                "max" => INFINITY,
                rate => rate.parse().ok()?,
            };
            Some(property(name, Value::Device(device.clone(), rate)))
        })
        .collect()
}

fn node(number: &str) -> String {
    format!("/dev/block/{number}")
}

/// `0-2,5` as bits, the lowest first.
fn set(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > HIGHEST {
            return None;
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &str, value: &str) -> Write {
        Write {
            limit: "x".into(),
            controller: None,
            file: file.into(),
            value: value.into(),
            optional: false,
        }
    }

    /// Of writes like `file=value`, parted by semicolons.
    fn shown(writes: &str) -> String {
        let pairs = writes.split(';').filter_map(|w| w.split_once('='));
        let writes: Vec<Write> = pairs.map(|(file, value)| write(file, value)).collect();
        let shown = |(name, value)| format!("{name} {value:?}");
        let all: Vec<String> = of(&writes).into_iter().map(shown).collect();
        all.join(", ").replace(&u64::MAX.to_string(), "none")
    }

    #[test]
    fn what_systemd_is_told() {
        for (writes, expected) in [
            ("memory.max=5", "MemoryMax U64(5)"),
            ("memory.swap.max=0", "MemorySwapMax U64(0)"),
            (
                "memory.low=7;memory.min=9",
                "MemoryLow U64(7), MemoryMin U64(9)",
            ),
            ("memory.high=max", "MemoryHigh U64(none)"),
            ("pids.max=max", "TasksMax U64(none)"),
            ("pids.max=0", "TasksMax U64(1)"),
            ("cpu.weight=174", "CPUWeight U64(174)"),
            ("cpu.weight=174;cpu.idle=1", "CPUWeight U64(0)"),
            ("cpu.idle=0", "CPUWeight U64(none)"),
            (
                "cpu.max=50000 100000",
                "CPUQuotaPeriodUSec U64(100000), CPUQuotaPerSecUSec U64(500000)",
            ),
            (
                "cpu.max=max 5000",
                "CPUQuotaPeriodUSec U64(5000), CPUQuotaPerSecUSec U64(none)",
            ),
            (
                "cpu.max=1001",
                "CPUQuotaPeriodUSec U64(100000), CPUQuotaPerSecUSec U64(20000)",
            ),
            ("cpuset.cpus=0-1,3, 9", "AllowedCPUs Bytes([11, 2])"),
            ("cpuset.mems=0", "AllowedMemoryNodes Bytes([1])"),
            ("io.weight=default 7", "IOWeight U64(7)"),
            (
                "io.weight=8:0 7",
                "IODeviceWeight Device(\"/dev/block/8:0\", 7)",
            ),
            // What it has no property for, and what the kernel is going to refuse.
            ("cpu.max.burst=5;hugetlb.2MB.max=4;memory.max=x", ""),
            ("cpu.max=5 0;cpuset.cpus=3-1;cpuset.cpus=99999999", ""),
        ] {
            assert_eq!(shown(writes), expected, "{writes}");
        }
        let [read, write] = &of(&[write("io.max", "8:0 rbps=5 wiops=max")])[..] else {
            panic!("two properties");
        };
        let device = |number| Value::Device("/dev/block/8:0".into(), number);
        assert_eq!(*read, property("IOReadBandwidthMax", device(5)));
        assert_eq!(*write, property("IOWriteIOPSMax", device(u64::MAX)));
    }

    #[test]
    fn quotas_are_as_systemd_writes_them() {
        for (value, expected) in [
            ("50000 100000", "50000 100000"),
            ("1001 100000", "2000 100000"),
            ("max 5000", "max 5000"),
            ("1234 5000", "1250 5000"),
            ("nonsense", "nonsense"),
        ] {
            let mut writes = [write("cpu.max", value)];
            round(&mut writes);
            assert_eq!(writes[0].value, expected, "{value}");
        }
    }
}
