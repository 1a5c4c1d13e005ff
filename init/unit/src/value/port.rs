//! Published ports: `80:8000`, `127.0.0.1:80:8000`, `53:5353/udp`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::expected::{self, Expected};

/// Transport protocol of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, when nothing else is said.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMap {
    /// The host's address on which it is published; every one when `None`.
    pub host_ip: Option<Ipv4Addr>,
    /// Port on the host, 1 to 65535.
    pub host: u16,
    /// Port in the container, 1 to 65535.
    pub container: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl PortMap {
    /// Whether both cannot be published at once: same host port and protocol, on an address in
    /// common.
    pub fn clashes_with(&self, other: &PortMap) -> bool {
        let apart = matches!((self.host_ip, other.host_ip), (Some(a), Some(b)) if a != b);
        self.host == other.host && self.protocol == other.protocol && !apart
    }
}

impl FromStr for PortMap {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(expected::one_of(other, &["tcp", "udp"])),
        };
        let parts: Vec<&str> = ports.split(':').collect();
        let (host_ip, host, container) = match parts[..] {
            [host, container] => (None, host, container),
            [address, host, container] => (Some(host_address(address)?), host, container),
            [only] if only.parse::<u16>().is_ok() => {
                return Err(expected::port_map().help(format!(
                    "write \"{only}:{only}\" to publish it under its own number"
                )));
            }
            _ => return Err(expected::port_map()),
        };
        let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
        Ok(Self {
            host_ip,
            host: parse_port(host)?,
            container: parse_port(container)?,
            protocol,
        })
    }
}

fn host_address(text: &str) -> Result<Ipv4Addr, Expected> {
    text.parse().map_err(|_| {
        Expected::new(format!(
            "{} is not an IPv4 address of the host",
            expected::shown(text)
        ))
        .help("leave it out to publish on every address")
    })
}

/// A port in decimal, 1 to 65535.
pub(crate) fn parse_port(text: &str) -> Result<u16, Expected> {
    if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(expected::port(text));
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(expected::out_of_range("port", text, 1, 65535)),
    }
}

impl fmt::Display for PortMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(f, "{ip}:")?;
        }
        write!(f, "{}:{}", self.host, self.container)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(text: &str) -> PortMap {
        text.parse().unwrap()
    }

    #[test]
    fn good() {
        let tcp = PortMap {
            host_ip: None,
            host: 80,
            container: 8000,
            protocol: Protocol::Tcp,
        };
        assert_eq!(map("80:8000"), tcp);
        assert_eq!(map("80:8000/tcp"), tcp);
        assert_eq!(map("0.0.0.0:80:8000"), tcp);
        assert_eq!(
            map("80:8000/udp"),
            PortMap {
                protocol: Protocol::Udp,
                ..tcp
            }
        );
        let local = Some(Ipv4Addr::LOCALHOST);
        assert_eq!(
            map("127.0.0.1:80:8000"),
            PortMap {
                host_ip: local,
                ..tcp
            }
        );
    }

    #[test]
    fn bad() {
        let cases = [
            ("70000:80", "port 70000 is out of range 1-65535"),
            ("80:0", "port 0 is out of range 1-65535"),
            (
                "80:99999999999999999999",
                "port 99999999999999999999 is out of range",
            ),
            ("80:http", "\"http\" is not a port"),
            ("+80:80", "\"+80\" is not a port"),
            (":80", "\"\" is not a port"),
            ("80", "expected HOST:CONTAINER"),
            ("", "expected HOST:CONTAINER"),
            ("1:2:3:4", "expected HOST:CONTAINER"),
            ("[::1]:80:80", "expected HOST:CONTAINER"),
            ("localhost:80:80", "not an IPv4 address"),
            ("80:80/sctp", "\"sctp\" is not one of \"tcp\", \"udp\""),
        ];
        for (text, message) in cases {
            let refusal = text.parse::<PortMap>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
        let refusal = "8080".parse::<PortMap>().unwrap_err();
        assert!(
            refusal.to_string().contains("write \"8080:8080\""),
            "{refusal}"
        );
    }

    #[test]
    fn clashes() {
        let cases = [
            ("80:1", "80:2", true),
            ("80:1", "81:1", false),
            ("80:1", "80:1/udp", false),
            ("127.0.0.1:80:1", "80:2", true),
            ("127.0.0.1:80:1", "127.0.0.2:80:1", false),
            ("127.0.0.1:80:1", "127.0.0.1:80:2", true),
        ];
        for (a, b, clash) in cases {
            assert_eq!(map(a).clashes_with(&map(b)), clash, "{a} {b}");
            assert_eq!(map(b).clashes_with(&map(a)), clash, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn printed_form_parses_back(
            ip in any::<Option<u32>>(), host in 1u16.., container in 1u16.., udp in any::<bool>(),
        ) {
            let host_ip = ip.filter(|ip| *ip != 0).map(Ipv4Addr::from);
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let port = PortMap { host_ip, host, container, protocol };
            prop_assert_eq!(port.to_string().parse::<PortMap>(), Ok(port));
        }

        #[test]
        fn never_panics(text in "[0-9:./a-z\\PC]{0,24}") {
            let _ = text.parse::<PortMap>();
        }
    }
}
