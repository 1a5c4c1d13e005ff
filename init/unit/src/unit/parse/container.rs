//! The `[container]` table.

use std::collections::BTreeMap;

use crate::document::{Field, Section};
use crate::expected::{Expected, absolute_path, shown};
use crate::unit::{Container, Network, Role};
use crate::value::{
    Capability, Mount, PortMap, Rlimit, RlimitKind, Tmpfs, is_absolute_and_plain, label_problem,
    volume_name_problem,
};

/// What the kernel takes as one argument or variable (`MAX_ARG_STRLEN`), less its NUL.
const MAX_ARG_BYTES: usize = 131_071;

pub(super) fn read(table: Section) -> Option<Container> {
    let image = table
        .require("image", "image = \"NAME:TAG\"")
        .and_then(|f| f.parse());
    let list = |key| table.get(key).map(|f| arguments(&f));
    let volumes = table
        .get("volumes")
        .map(|f| volumes(&f))
        .unwrap_or_default();
    let tmpfs = table
        .get("tmpfs")
        .map(|f| tmpfs(&f, &volumes))
        .unwrap_or_default();
    let network = [("default", Network::Default), ("none", Network::None)];
    let network = table
        .get("network")
        .and_then(|f| f.one_of(&network))
        .unwrap_or_default();
    let roles = [Role::Reader, Role::Operator, Role::Admin].map(|role| (role.as_str(), role));
    table.close();
    Some(Container {
        command: list("command"),
        entrypoint: list("entrypoint"),
        user: table.get("user").and_then(|f| f.parse_or_integer()),
        working_dir: table
            .get("working-dir")
            .and_then(|f| f.parse_with(absolute)),
        environment: table
            .get("environment")
            .map(|f| environment(&f))
            .unwrap_or_default(),
        ports: table
            .get("ports")
            .map(|f| ports(&f, network))
            .unwrap_or_default(),
        volumes,
        tmpfs,
        secrets: table
            .get("secrets")
            .map(|f| secrets(&f))
            .unwrap_or_default(),
        network,
        read_only: table
            .get("read-only")
            .and_then(|f| f.boolean())
            .unwrap_or(false),
        capabilities_add: table
            .get("cap-add")
            .map(|f| cap_add(&f))
            .unwrap_or_default(),
        capabilities_drop: table
            .get("cap-drop")
            .map(|f| cap_drop(&f))
            .unwrap_or_default(),
        devices: table.get("devices").map(|f| f.set()).unwrap_or_default(),
        hostname: table.get("hostname").and_then(|f| f.parse_with(hostname)),
        host_bus: table.get("bus").and_then(|f| f.one_of(&roles)),
        rlimits: table
            .get("ulimits")
            .map(|f| ulimits(&f))
            .unwrap_or_default(),
        // The last, so that a bad image hides nothing else that is wrong.
        image: image?,
    })
}

/// The words of a command, of which there is at least one.
pub(super) fn arguments(field: &Field) -> Vec<String> {
    let words = field.list(|item| {
        item.parse_with(|text| match text.len() {
            0..=MAX_ARG_BYTES => Ok(text.to_owned()),
            _ => Err(Expected::new(
                "longer than 128 KiB, the most the kernel takes",
            )),
        })
    });
    if field.items_len() == Some(0) {
        field.refuse(&Expected::new("the list is empty").help("leave the key out instead"));
    }
    words
}

fn absolute(text: &str) -> Result<String, Expected> {
    if is_absolute_and_plain(text) {
        Ok(text.to_owned())
    } else {
        Err(absolute_path(text))
    }
}

fn hostname(text: &str) -> Result<String, Expected> {
    match label_problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err(Expected::new(format!("not a host name: {problem}"))),
    }
}

fn environment(field: &Field) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if field.items_len().is_some() {
        let refusal = Expected::new("expected a table, found an array");
        field.refuse(&refusal.help("write environment = { NAME = \"value\" }"));
        return variables;
    }
    let Some(table) = field.section() else {
        return variables;
    };
    for (name, span, value) in table.entries() {
        if name.is_empty() || name.contains(['=', '\0']) || name.len() > 1024 {
            let message = format!("{} cannot name a variable", shown(name));
            table.refuse_at(span, &Expected::new(message));
        } else if let Some(text) = value.string() {
            if name.len() + 1 + text.len() > MAX_ARG_BYTES {
                value.refuse(&Expected::new(
                    "longer than 128 KiB, the most the kernel takes",
                ));
            }
            variables.insert(name.to_owned(), text.to_owned());
        }
    }
    variables
}

fn ports(field: &Field, network: Network) -> Vec<PortMap> {
    let mut ports: Vec<PortMap> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(port) = item.parse::<PortMap>() else {
            continue;
        };
        if let Some(other) = ports.iter().find(|other| other.clashes_with(&port)) {
            let message = format!(
                "host port {} is published twice, by \"{other}\" too",
                port.host
            );
            item.refuse(&Expected::new(message).help("give one of them another host port"));
        }
        ports.push(port);
    }
    if network == Network::None && !ports.is_empty() {
        let refusal = Expected::new("ports cannot be published with network = \"none\"");
        field.refuse(&refusal.help("remove one of the two"));
    }
    ports
}

fn volumes(field: &Field) -> Vec<Mount> {
    let mut volumes: Vec<Mount> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(volume) = item.parse::<Mount>() else {
            continue;
        };
        if volumes.iter().any(|other| other.target == volume.target) {
            item.refuse(&Expected::new(format!(
                "{} has a volume already",
                volume.target
            )));
        }
        volumes.push(volume);
    }
    volumes
}

fn tmpfs(field: &Field, volumes: &[Mount]) -> Vec<Tmpfs> {
    let mut all: Vec<Tmpfs> = Vec::new();
    for item in field.items().unwrap_or_default() {
        let Some(tmpfs) = item.parse::<Tmpfs>() else {
            continue;
        };
        let taken = volumes
            .iter()
            .map(|v| &v.target)
            .chain(all.iter().map(|t| &t.target));
        if taken.into_iter().any(|target| *target == tmpfs.target) {
            item.refuse(&Expected::new(format!(
                "{} is mounted already",
                tmpfs.target
            )));
        }
        all.push(tmpfs);
    }
    all
}

fn secrets(field: &Field) -> Vec<String> {
    field.list(|item| {
        item.parse_with(|text| match volume_name_problem(text) {
            None => Ok(text.to_owned()),
            Some(problem) => Err(Expected::new(format!("cannot name a secret: {problem}"))),
        })
    })
}

fn cap_add(field: &Field) -> Vec<Capability> {
    field.list(|item| {
        item.parse_with(|text| match is_all(text) {
            true => Err(Expected::new("a unit names each capability that it needs")
                .help("replace \"ALL\" by their names")),
            false => text.parse(),
        })
    })
}

fn cap_drop(field: &Field) -> Vec<Capability> {
    let items = field.items().unwrap_or_default();
    if items.iter().any(|item| item.string().is_some_and(is_all)) {
        return Capability::all().collect();
    }
    items.iter().filter_map(|item| item.parse()).collect()
}

fn is_all(text: &str) -> bool {
    text.eq_ignore_ascii_case("all")
}

fn ulimits(field: &Field) -> Vec<Rlimit> {
    let Some(table) = field.section() else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (name, span, value) in table.entries() {
        match name.parse::<RlimitKind>() {
            Ok(kind) => limits.extend(
                value
                    .text_or_integer()
                    .and_then(|text| value.checked(Rlimit::parse(kind, &text))),
            ),
            Err(refusal) => table.refuse_at(span, &refusal),
        }
    }
    limits
}
