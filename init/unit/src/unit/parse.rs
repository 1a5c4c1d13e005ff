//! From the document to the model, table by table.

mod container;
mod health;

use std::time::Duration;

use crate::document::{Catalogue, Field, Section, Source, schema};
use crate::expected::Expected;
use crate::unit::{IoLimit, Logs, Resources, Restart, RestartPolicy, Stop, Unit};
use crate::value::{Bytes, UnitName, duration, is_absolute_and_plain};
use crate::{Diagnostic, Spans, suggest};

/// Every table and key of a unit file.
pub(crate) static CATALOGUE: Catalogue = Catalogue {
    sections: &[
        (
            "",
            &[
                "container",
                "health",
                "logs",
                "resources",
                "restart",
                "schema",
                "stop",
                "unit",
            ],
        ),
        ("unit", &["after", "description", "enabled", "requires"]),
        (
            "container",
            &[
                "bus",
                "cap-add",
                "cap-drop",
                "command",
                "devices",
                "entrypoint",
                "environment",
                "hostname",
                "image",
                "network",
                "ports",
                "read-only",
                "secrets",
                "tmpfs",
                "ulimits",
                "user",
                "volumes",
                "working-dir",
            ],
        ),
        (
            "resources",
            &["cpus", "io", "memory", "memory-swap", "pids"],
        ),
        (
            "resources.io",
            &["device", "read-bps", "read-iops", "write-bps", "write-iops"],
        ),
        (
            "health",
            &[
                "exec",
                "gate",
                "http",
                "interval",
                "retries",
                "start-period",
                "tcp",
                "timeout",
            ],
        ),
        ("restart", &["backoff-max", "backoff-min", "policy"]),
        ("stop", &["signal", "timeout"]),
        ("logs", &["max-size"]),
    ],
    foreign: suggest::foreign,
};

pub(super) fn parse(file: &str, text: &str) -> Result<(Unit, Spans), Vec<Diagnostic>> {
    let (source, table) = Source::parse(file, text, &CATALOGUE);
    let root = source.root(&table);
    if !schema::is_known(&root) {
        return source.finish(None);
    }
    let unit = read(file, &root);
    root.close();
    source.finish(unit)
}

fn read(file: &str, root: &Section) -> Option<Unit> {
    let name = UnitName::of_file(file)
        .map_err(|refusal| root.refuse_at(0..0, &refusal))
        .ok();
    let mut unit_table = Head::default();
    if let Some(table) = root.table("unit") {
        unit_table = head(table, name.as_ref());
    }
    let container = root
        .require("container", "[container] with at least image = \"NAME\"")
        .and_then(|field| field.section())
        .and_then(container::read);
    let resources = root.table("resources").map(resources).unwrap_or_default();
    let health = root.table("health").and_then(health::read);
    let restart = root.table("restart").map(restart).unwrap_or_default();
    let stop = root.table("stop").map(stop).unwrap_or_default();
    let logs = root.table("logs").map(logs).unwrap_or_default();
    Some(Unit {
        name: name?,
        description: unit_table.description,
        enabled: unit_table.enabled,
        requires: unit_table.requires,
        after: unit_table.after,
        container: container?,
        resources,
        health,
        restart,
        stop,
        logs,
    })
}

struct Head {
    description: String,
    enabled: bool,
    requires: Vec<UnitName>,
    after: Vec<UnitName>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            description: String::new(),
            enabled: true,
            requires: Vec::new(),
            after: Vec::new(),
        }
    }
}

fn head(table: Section, name: Option<&UnitName>) -> Head {
    let mut head = Head::default();
    if let Some(text) = table
        .get("description")
        .and_then(|f| f.parse_with(description))
    {
        head.description = text;
    }
    if let Some(enabled) = table.get("enabled").and_then(|f| f.boolean()) {
        head.enabled = enabled;
    }
    let others = |key| {
        table
            .get(key)
            .map(|f| other_units(&f, name))
            .unwrap_or_default()
    };
    head.requires = others("requires");
    head.after = others("after");
    table.close();
    head
}

/// One line that a status screen can show as it is.
fn description(text: &str) -> Result<String, Expected> {
    if text.chars().any(char::is_control) || text.chars().count() > 200 {
        return Err(Expected::new("expected one line of at most 200 characters"));
    }
    Ok(text.to_owned())
}

fn other_units(field: &Field, name: Option<&UnitName>) -> Vec<UnitName> {
    let mut others = field.set::<UnitName>();
    if let Some(own) = name.filter(|own| others.contains(own)) {
        field.refuse(&Expected::new(format!("\"{own}\" is this unit itself")).help("remove it"));
        others.retain(|other| other != own);
    }
    others
}

fn resources(table: Section) -> Resources {
    let memory = table.get("memory").and_then(|field| {
        let memory = field.parse_or_integer::<Bytes>()?;
        if memory < Bytes::mib(4) {
            let refusal = Expected::new("no process starts with less than 4M of memory");
            field.refuse(&refusal.help("memory is in bytes when it has no letter: \"256M\""));
            return None;
        }
        Some(memory)
    });
    let pids = table
        .get("pids")
        .and_then(|f| f.integer("pids", 1..=4_194_304));
    let resources = Resources {
        memory,
        memory_swap: table.get("memory-swap").and_then(|f| f.parse_or_integer()),
        cpus: table
            .get("cpus")
            .and_then(|f| f.number("cpus", 0.01..=1024.0)),
        pids: pids.and_then(|n| u32::try_from(n).ok()),
        io: table.get("io").map(|f| io_limits(&f)).unwrap_or_default(),
    };
    table.close();
    resources
}

fn io_limits(field: &Field) -> Vec<IoLimit> {
    let mut limits: Vec<IoLimit> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(limit) = item.section().and_then(io_limit) else {
            continue;
        };
        if limits.iter().any(|other| other.device == limit.device) {
            let message = format!("{} has limits already", limit.device);
            item.refuse(&Expected::new(message).help("put them into one table"));
        }
        limits.push(limit);
    }
    limits
}

fn io_limit(table: Section) -> Option<IoLimit> {
    let device = table
        .require("device", "device = \"/dev/vda\"")
        .and_then(|field| {
            field.parse_with(|text| {
                let plain = is_absolute_and_plain(text) && text.starts_with("/dev/");
                let refusal = || Expected::new("expected a block device below /dev");
                if plain {
                    Ok(text.to_owned())
                } else {
                    Err(refusal())
                }
            })
        });
    let bps = |key| {
        table.get(key).and_then(|field| {
            let rate = field.parse_or_integer::<Bytes>()?;
            if rate.get() == 0 {
                field.refuse(&Expected::new("a rate of 0 would stop the unit for ever"));
            }
            Some(rate)
        })
    };
    let iops = |key| {
        table
            .get(key)
            .and_then(|f| f.integer(key, 1..=u64::from(u32::MAX)))
    };
    let (read_bps, write_bps) = (bps("read-bps"), bps("write-bps"));
    let (read_iops, write_iops) = (iops("read-iops"), iops("write-iops"));
    let keys = ["read-bps", "write-bps", "read-iops", "write-iops"];
    if keys.iter().all(|key| table.get(key).is_none()) {
        table.refuse(&Expected::new("no limit is given").help(format!("add {}", keys.join(", "))));
    }
    table.close();
    Some(IoLimit {
        device: device?,
        read_bps,
        write_bps,
        read_iops,
        write_iops,
    })
}

fn restart(table: Section) -> Restart {
    let mut restart = Restart::default();
    let policies = [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ]
    .map(|policy| (policy.as_str(), policy));
    if let Some(policy) = table.get("policy").and_then(|f| f.one_of(&policies)) {
        restart.policy = policy;
    }
    let wait = Duration::from_millis(10)..=Duration::from_secs(86_400);
    let max = table.get("backoff-max");
    if let Some(longest) = max.as_ref().and_then(|f| f.duration(wait.clone())) {
        restart.backoff_max = longest;
    }
    match table.get("backoff-min").map(|f| (f.duration(wait), f)) {
        Some((Some(first), field)) => {
            restart.backoff_min = first;
            if first > restart.backoff_max {
                let longest = duration::format(restart.backoff_max);
                field.refuse(&Expected::new(format!(
                    "it is longer than backoff-max, {longest}"
                )));
            }
        }
        Some((None, _)) => {}
        None => restart.backoff_min = restart.backoff_min.min(restart.backoff_max),
    }
    table.close();
    restart
}

fn stop(table: Section) -> Stop {
    let signal = table.get("signal").and_then(|f| f.parse());
    let mut stop = Stop {
        signal,
        ..Stop::default()
    };
    let wait = Duration::ZERO..=Duration::from_secs(3600);
    if let Some(timeout) = table.get("timeout").and_then(|f| f.duration(wait)) {
        stop.timeout = timeout;
    }
    table.close();
    stop
}

fn logs(table: Section) -> Logs {
    let mut logs = Logs::default();
    if let Some(field) = table.get("max-size") {
        match field.parse_or_integer::<Bytes>() {
            Some(size) if (Bytes::kib(64)..=Bytes::mib(1 << 20)).contains(&size) => {
                logs.max_size = size;
            }
            Some(_) => field.refuse(&Expected::new("expected a size from 64K to 1T")),
            None => {}
        }
    }
    table.close();
    logs
}
