//! IPv4 networks and addresses with their prefix: `192.0.2.10/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// An IPv4 address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address; of a subnet, any address within.
    pub address: Ipv4Addr,
    /// Prefix length in bits, 0 to 32.
    pub prefix_len: u8,
}

impl Cidr {
    /// The netmask's bits.
    pub fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix_len))
            .unwrap_or(0)
    }

    /// The network's own address: all host bits zero.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// Whether `ip` lies in the network.
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & self.mask() == u32::from(self.network())
    }

    /// Whether the networks have an address in common.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

impl FromStr for Cidr {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let refusal = || {
            Expected::new(format!(
                "{} is not an IPv4 address with its prefix",
                shown(text)
            ))
            .help("for example \"192.0.2.10/24\"")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(refusal)?;
        let address = address.parse().map_err(|_| refusal())?;
        let prefix_len = prefix
            .parse()
            .ok()
            .filter(|len| *len <= 32)
            .ok_or_else(refusal)?;
        Ok(Self {
            address,
            prefix_len,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let cidr: Cidr = "192.0.2.10/24".parse().unwrap();
        assert_eq!(cidr.network(), Ipv4Addr::new(192, 0, 2, 0));
        assert!(cidr.contains(Ipv4Addr::new(192, 0, 2, 255)));
        assert!(!cidr.contains(Ipv4Addr::new(192, 0, 3, 0)));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.overlaps(cidr) && cidr.overlaps(all));
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1/33",
            "192.0.2/24",
            "::1/64",
            "1.2.3.4/-1",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printed_form_parses_back(ip in any::<u32>(), prefix_len in 0u8..=32) {
            let cidr = Cidr { address: ip.into(), prefix_len };
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
            prop_assert!(cidr.contains(cidr.address) && cidr.contains(cidr.network()));
        }
    }
}
