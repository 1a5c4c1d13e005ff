//! From the model back to a document: what the running host reads.

use toml::{Table, Value};

use crate::SCHEMA;
use crate::host::{Addressing, Authority, Host, Listen};
use crate::value::duration;

pub(super) fn runtime(host: &Host) -> Table {
    let mut root = Table::new();
    let mut put = |key: &str, value: Value| root.insert(key.to_owned(), value);
    put("schema", Value::Integer(SCHEMA.cast_signed()));
    put("name", text(&host.name));
    put("version", text(&host.version));
    put("network", Value::Table(network(host)));
    put("api", Value::Table(api(host)));
    let screen = ("screen".to_owned(), Value::Boolean(host.console.screen));
    put("console", Value::Table(Table::from_iter([screen])));
    put("update", Value::Table(update(host)));
    root
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn update(host: &Host) -> Table {
    let update = &host.update;
    let mut table = Table::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    put("settle", text(duration::format(update.settle)));
    put("deadline", text(duration::format(update.deadline)));
    put("check", text(duration::format(update.check)));
    put("apply", text(update.apply.as_str()));
    if let Some(url) = &update.url {
        put("url", text(url));
    }
    match &update.ca {
        Some(Authority::File(ca) | Authority::Pem(ca)) => put("ca", text(ca)),
        None => None,
    };
    if !update.keys.is_empty() {
        put("keys", Value::Array(update.keys.iter().map(text).collect()));
    }
    table
}

fn network(host: &Host) -> Table {
    let network = &host.network;
    let mut uplink = Table::new();
    if let Some(pattern) = &network.uplink.interface {
        uplink.insert("interface".to_owned(), text(pattern));
    }
    match &network.uplink.addressing {
        Addressing::Dhcp => {
            uplink.insert("dhcp".to_owned(), Value::Boolean(true));
        }
        Addressing::Static { address, gateway } => {
            uplink.insert("address".to_owned(), text(address));
            if let Some(gateway) = gateway {
                uplink.insert("gateway".to_owned(), text(gateway));
            }
        }
    }
    if !network.uplink.dns.is_empty() {
        let servers = network.uplink.dns.iter().map(text).collect();
        uplink.insert("dns".to_owned(), Value::Array(servers));
    }
    let subnet = ("subnet".to_owned(), text(network.bridge.subnet));
    let mut table = Table::new();
    if let Some(name) = &network.hostname {
        table.insert("hostname".to_owned(), text(name));
    }
    table.insert("uplink".to_owned(), Value::Table(uplink));
    table.insert(
        "bridge".to_owned(),
        Value::Table(Table::from_iter([subnet])),
    );
    table
}

fn api(host: &Host) -> Table {
    let mut table = Table::new();
    match host.api.listen {
        Listen::Anywhere => {}
        Listen::Nowhere => {
            table.insert("listen".to_owned(), text("none"));
        }
        Listen::At(address) => {
            table.insert("listen".to_owned(), text(address));
        }
    }
    match &host.api.client_ca {
        Some(Authority::File(ca) | Authority::Pem(ca)) => {
            table.insert("client-ca".to_owned(), text(ca));
        }
        None => {}
    }
    table
}
