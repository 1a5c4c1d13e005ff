//! The kernel's network switches that the host depends on.

use std::io;
use std::path::PathBuf;

use super::error::{NetError, Result};

/// For every link, as `/proc/sys/net` paths and values.
const GENERAL: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    // Loose on uplinks (a second uplink in the same network is legal); what
    // matters there, the containers' network, the packet filter guards.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "2"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
    // A lease for another address must survive the old one's removal.
    ("ipv4/conf/all/promote_secondaries", "1"),
    // With br_netfilter in the kernel, bridged packets would pass the packet
    // filter as if they were routed, and be translated below the router.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    // No neighbour on an uplink learns of the bridge's address by ARP.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
];

/// For the bridge: containers speak IPv4 on it, from their own addresses.
const BRIDGE: &[(&str, &str)] = &[
    ("ipv4/conf/{}/rp_filter", "1"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv6/conf/{}/disable_ipv6", "1"),
];

/// Parts that a kernel may be without: there is nothing to switch then.
const OPTIONAL: [&str; 2] = ["/proc/sys/net/ipv6", "/proc/sys/net/bridge"];

/// Sets the switches that hold for all links.
pub(super) fn general() -> Result<()> {
    GENERAL
        .iter()
        .try_for_each(|(path, value)| set(path, value))
}

/// Sets the switches of the bridge.
pub(super) fn bridge(name: &str) -> Result<()> {
    BRIDGE
        .iter()
        .try_for_each(|(path, value)| set(&path.replace("{}", name), value))
}

/// Sets the switches of an uplink; one that is found at boot has its own
/// before the general ones are set.
pub(super) fn uplink(name: &str) -> Result<()> {
    set(&format!("ipv4/conf/{name}/rp_filter"), "2")
}

fn set(path: &str, value: &str) -> Result<()> {
    let path = PathBuf::from("/proc/sys/net").join(path);
    let optional = OPTIONAL.iter().any(|part| path.starts_with(part));
    match std::fs::write(&path, value) {
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| NetError::File { path, source }),
    }
}
