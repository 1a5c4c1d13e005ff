//! From the model back to a document.

use toml::{Table, Value};

use crate::SCHEMA;
use crate::unit::{Health, IoLimit, Network, Probe, Resources, Unit};
use crate::value::duration;

pub(super) fn emit(unit: &Unit) -> Table {
    let mut root = Table::new();
    root.insert("schema".to_owned(), Value::Integer(SCHEMA.cast_signed()));
    let mut put = |key: &str, table: Table| {
        if !table.is_empty() {
            root.insert(key.to_owned(), Value::Table(table));
        }
    };
    put("unit", head(unit));
    put("container", container(unit));
    put("resources", resources(&unit.resources));
    put(
        "health",
        unit.health.as_ref().map(health).unwrap_or_default(),
    );
    put("restart", restart(unit));
    put("stop", stop(unit));
    let mut logs = Table::new();
    logs.insert("max-size".to_owned(), text(unit.logs.max_size));
    put("logs", logs);
    root
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn texts<T: std::fmt::Display>(values: &[T]) -> Option<Value> {
    let array = || Value::Array(values.iter().map(text).collect());
    (!values.is_empty()).then(array)
}

fn put(table: &mut Table, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        table.insert(key.to_owned(), value);
    }
}

fn head(unit: &Unit) -> Table {
    let mut table = Table::new();
    put(&mut table, "description", Some(text(&unit.description)));
    put(&mut table, "enabled", Some(Value::Boolean(unit.enabled)));
    put(&mut table, "requires", texts(&unit.requires));
    put(&mut table, "after", texts(&unit.after));
    table
}

fn container(unit: &Unit) -> Table {
    let container = &unit.container;
    let names =
        |caps: &[crate::Capability]| texts(&caps.iter().map(|cap| cap.name()).collect::<Vec<_>>());
    let mut table = Table::new();
    put(&mut table, "image", Some(text(&container.image)));
    put(
        &mut table,
        "command",
        container.command.as_deref().and_then(texts),
    );
    put(
        &mut table,
        "entrypoint",
        container.entrypoint.as_deref().and_then(texts),
    );
    put(&mut table, "user", container.user.as_ref().map(text));
    put(
        &mut table,
        "working-dir",
        container.working_dir.as_ref().map(text),
    );
    let variables = container
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), text(value)));
    put(
        &mut table,
        "environment",
        Some(Value::Table(variables.collect())),
    );
    put(&mut table, "ports", texts(&container.ports));
    put(&mut table, "volumes", texts(&container.volumes));
    put(&mut table, "tmpfs", texts(&container.tmpfs));
    put(&mut table, "secrets", texts(&container.secrets));
    let network = match container.network {
        Network::Default => "default",
        Network::None => "none",
    };
    put(&mut table, "network", Some(text(network)));
    put(
        &mut table,
        "read-only",
        Some(Value::Boolean(container.read_only)),
    );
    put(&mut table, "cap-add", names(&container.capabilities_add));
    put(&mut table, "cap-drop", names(&container.capabilities_drop));
    put(&mut table, "devices", texts(&container.devices));
    put(
        &mut table,
        "hostname",
        container.hostname.as_ref().map(text),
    );
    put(
        &mut table,
        "bus",
        container.host_bus.map(|role| text(role.as_str())),
    );
    let limits = container
        .rlimits
        .iter()
        .map(|l| (l.kind.to_string(), text(l.value())));
    put(&mut table, "ulimits", Some(Value::Table(limits.collect())));
    table
}

fn resources(resources: &Resources) -> Table {
    let mut table = Table::new();
    put(&mut table, "memory", resources.memory.map(text));
    put(&mut table, "memory-swap", resources.memory_swap.map(text));
    put(&mut table, "cpus", resources.cpus.map(Value::Float));
    put(
        &mut table,
        "pids",
        resources.pids.map(|n| Value::Integer(i64::from(n))),
    );
    let limits: Vec<Value> = resources.io.iter().map(io_limit).collect();
    put(
        &mut table,
        "io",
        (!limits.is_empty()).then_some(Value::Array(limits)),
    );
    table
}

fn io_limit(limit: &IoLimit) -> Value {
    let number = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let mut table = Table::new();
    put(&mut table, "device", Some(text(&limit.device)));
    put(&mut table, "read-bps", limit.read_bps.map(text));
    put(&mut table, "write-bps", limit.write_bps.map(text));
    put(&mut table, "read-iops", limit.read_iops.map(number));
    put(&mut table, "write-iops", limit.write_iops.map(number));
    Value::Table(table)
}

fn health(health: &Health) -> Table {
    let mut table = Table::new();
    let (key, probe) = match &health.probe {
        Probe::Exec(words) => ("exec", texts(words)),
        Probe::Http { port, path } => ("http", Some(text(format!(":{port}{path}")))),
        Probe::Tcp(port) => ("tcp", Some(Value::Integer(i64::from(*port)))),
    };
    put(&mut table, key, probe);
    put(
        &mut table,
        "interval",
        Some(text(duration::format(health.interval))),
    );
    put(
        &mut table,
        "timeout",
        Some(text(duration::format(health.timeout))),
    );
    put(
        &mut table,
        "start-period",
        Some(text(duration::format(health.start_period))),
    );
    put(
        &mut table,
        "retries",
        Some(Value::Integer(i64::from(health.retries))),
    );
    put(&mut table, "gate", Some(Value::Boolean(health.gate)));
    table
}

fn restart(unit: &Unit) -> Table {
    let mut table = Table::new();
    put(
        &mut table,
        "policy",
        Some(text(unit.restart.policy.as_str())),
    );
    put(
        &mut table,
        "backoff-min",
        Some(text(duration::format(unit.restart.backoff_min))),
    );
    put(
        &mut table,
        "backoff-max",
        Some(text(duration::format(unit.restart.backoff_max))),
    );
    table
}

fn stop(unit: &Unit) -> Table {
    let mut table = Table::new();
    put(&mut table, "signal", unit.stop.signal.map(text));
    put(
        &mut table,
        "timeout",
        Some(text(duration::format(unit.stop.timeout))),
    );
    table
}
