//! The `[network]` table.

use std::net::{IpAddr, Ipv4Addr};

use crate::document::{Field, Section};
use crate::expected::{Expected, shown};
use crate::host::{Addressing, NetworkConfig, Uplink};
use crate::value::Cidr;

pub(super) fn read(table: Section, network: &mut NetworkConfig) {
    if let Some(name) = table
        .get("hostname")
        .and_then(|f| f.parse_with(super::name))
    {
        network.hostname = Some(name);
    }
    if let Some(uplink_table) = table.table("uplink") {
        uplink(uplink_table, &mut network.uplink);
    }
    if let Some(bridge) = table.table("bridge") {
        if let Some(subnet) = bridge.get("subnet").and_then(|f| f.parse_with(subnet)) {
            network.bridge.subnet = subnet;
        }
        bridge.close();
    }
    if let Addressing::Static { address, .. } = network.uplink.addressing
        && address.overlaps(network.bridge.subnet)
    {
        let bridge = network.bridge.subnet;
        let message = format!("the uplink's network {address} overlaps the bridge's {bridge}");
        let help = "give [network.bridge] subnet another range";
        table.refuse(&Expected::new(message).help(help));
    }
    table.close();
}

fn subnet(text: &str) -> Result<Cidr, Expected> {
    let subnet: Cidr = text.parse()?;
    if !(8..=28).contains(&subnet.prefix_len) {
        return Err(crate::expected::out_of_range(
            "prefix",
            subnet.prefix_len,
            8,
            28,
        ));
    }
    if subnet.address != subnet.network() {
        let network = Cidr {
            address: subnet.network(),
            ..subnet
        };
        return Err(Expected::new("the address is not the network's first")
            .help(format!("write \"{network}\"")));
    }
    let ip = subnet.address;
    if ip.is_loopback() || ip.is_multicast() || ip.is_link_local() || ip.octets()[0] == 0 {
        return Err(Expected::new("the range has a meaning of its own")
            .help("take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"));
    }
    Ok(subnet)
}

fn uplink(table: Section, uplink: &mut Uplink) {
    if let Some(pattern) = table.get("interface").and_then(|f| f.parse_with(interface)) {
        uplink.interface = pattern;
    }
    let dhcp = table.get("dhcp").and_then(|f| Some((f.boolean()?, f)));
    let address = table.get("address").and_then(|f| f.parse_with(address));
    let gateway = table.get("gateway");
    match (dhcp, address) {
        (Some((true, field)), Some(_)) => {
            let refusal = Expected::new("an address that is written too would not be used");
            field.refuse(&refusal.help("remove `dhcp` or `address`"));
        }
        (Some((true, _)), None) => uplink.addressing = Addressing::Dhcp,
        (Some((false, _)) | None, Some(address)) => {
            // A gateway of the base stays while the new address can reach it.
            let gateway = match uplink.addressing {
                Addressing::Static { gateway, .. } => {
                    gateway.filter(|ip| address.contains(*ip) && *ip != address.address)
                }
                Addressing::Dhcp => None,
            };
            uplink.addressing = Addressing::Static { address, gateway };
        }
        (Some((false, field)), None) if uplink.addressing == Addressing::Dhcp => {
            // A bad `address` has been noted already; this is for none at all.
            if table.get("address").is_none() {
                let refusal = Expected::new("without DHCP the uplink needs an address");
                field.refuse(&refusal.help("add address = \"192.0.2.10/24\""));
            }
        }
        (Some((false, _)) | None, None) => {}
    }
    if let Some(field) = gateway {
        set_gateway(&field, uplink, table.get("address").is_some());
    }
    if let Some(field) = table.get("dns") {
        uplink.dns = field.list(|item| item.parse_with(name_server));
    }
    table.close();
}

fn set_gateway(field: &Field, uplink: &mut Uplink, address_given: bool) {
    let refusal = || Expected::new("expected an IPv4 address").help("for example \"192.0.2.1\"");
    let parsed = field.parse_with(|text| text.parse::<Ipv4Addr>().map_err(|_| refusal()));
    match (&mut uplink.addressing, parsed) {
        (_, None) => {}
        (Addressing::Dhcp, Some(_)) => {
            if !address_given {
                let refusal = Expected::new("with DHCP the gateway comes from the server");
                field.refuse(&refusal.help("remove it, or add address = \"192.0.2.10/24\""));
            }
        }
        (Addressing::Static { address, gateway }, Some(ip)) => {
            if !address.contains(ip) || ip == address.address {
                let message = format!("not another address within the uplink's network {address}");
                field.refuse(&Expected::new(message));
            }
            *gateway = Some(ip);
        }
    }
}

/// `first` lets an overlay take back a name that its base gives.
fn interface(text: &str) -> Result<Option<String>, Expected> {
    // IFNAMSIZ is 16 with the closing NUL; a star can stand for nothing, so allow a little more.
    let inner = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    match text {
        "first" => Ok(None),
        _ if !text.is_empty() && text.len() <= 20 && text.chars().all(inner) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(
            Expected::new("expected the name of an interface, `*` standing for anything")
                .help("for example \"eth0\", \"en*\", or \"first\""),
        ),
    }
}

fn address(text: &str) -> Result<Cidr, Expected> {
    let cidr: Cidr = text.parse()?;
    let ip = cidr.address;
    let bits = u32::from(ip);
    let edge = cidr.prefix_len < 31 && (bits & !cidr.mask() == 0 || bits | cidr.mask() == u32::MAX);
    if edge || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        let message = format!("{} is not an address that a host can have", shown(text));
        return Err(Expected::new(message).help("for example \"192.0.2.10/24\""));
    }
    Ok(cidr)
}

fn name_server(text: &str) -> Result<IpAddr, Expected> {
    text.parse().map_err(|_| {
        Expected::new("expected the IP address of a name server").help("for example \"192.0.2.53\"")
    })
}
