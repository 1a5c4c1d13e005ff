//! Which links are uplinks, as a pure function.

use orlop_unit::Uplink;

use super::super::error::{NetError, Result};
use super::super::links::Link;
use super::super::wiring::VETH_PREFIX;

/// The uplinks among `links`: every Ethernet whose name matches the pattern,
/// or else the first that is hardware. The bridge and its ports never are.
pub(super) fn uplinks(links: &[Link], uplink: &Uplink, bridge: &str) -> Result<Vec<Link>> {
    let eligible = || {
        let ours = |link: &&Link| link.name != bridge && !link.name.starts_with(VETH_PREFIX);
        links.iter().filter(|link| link.ethernet).filter(ours)
    };
    let chosen: Vec<Link> = match &uplink.interface {
        Some(_) => eligible()
            .filter(|link| uplink.matches(&link.name))
            .cloned()
            .collect(),
        None => eligible()
            .find(|link| !link.made)
            .cloned()
            .into_iter()
            .collect(),
    };
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<&str> = eligible().map(|link| link.name.as_str()).collect();
    let here = if names.is_empty() {
        "there is no Ethernet link; is the driver's module in the image?".to_owned()
    } else {
        format!("there is only {}", names.join(", "))
    };
    Err(NetError::Config(match &uplink.interface {
        Some(pattern) => {
            format!("no link matches network.uplink.interface = \"{pattern}\": {here}")
        }
        None => format!("no physical Ethernet link to use as uplink: {here}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, ethernet: bool, made: bool) -> Link {
        let name = name.to_owned();
        Link {
            index,
            name,
            mac: [0; 6],
            ethernet,
            made,
            up: true,
            carrier: true,
            running: true,
        }
    }

    #[test]
    fn uplinks_are_chosen() {
        let links = [
            link(1, "lo", false, false),
            link(2, "orlop0", true, true),
            link(3, "vo1234", true, true),
            link(4, "dummy0", true, true),
            link(5, "ens3", true, false),
            link(6, "ens4", true, false),
        ];
        let cases = [
            (None, Ok(vec!["ens3"])),
            (Some("ens*"), Ok(vec!["ens3", "ens4"])),
            (Some("*"), Ok(vec!["dummy0", "ens3", "ens4"])),
            (Some("orlop0"), Err("there is only dummy0, ens3, ens4")),
            (Some("eth0"), Err("interface = \"eth0\"")),
        ];
        for (pattern, expected) in cases {
            let uplink = Uplink {
                interface: pattern.map(str::to_owned),
                ..Uplink::default()
            };
            match (uplinks(&links, &uplink, "orlop0"), expected) {
                (Ok(chosen), Ok(names)) => {
                    let chosen: Vec<_> = chosen.iter().map(|link| link.name.as_str()).collect();
                    assert_eq!(chosen, names, "{pattern:?}");
                }
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{pattern:?}: {error}");
                }
                (got, expected) => panic!("{pattern:?}: {got:?}, not {expected:?}"),
            }
        }
        let none = uplinks(&links[..3], &Uplink::default(), "orlop0")
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("is the driver's module in the image?"),
            "{none}"
        );
    }
}
