//! Which links are uplinks, as a pure function.

use super::super::VETH_PREFIX;
use super::super::error::{NetError, Result};
use super::super::links::Link;

/// The uplinks among `links`: every Ethernet whose name matches the pattern,
/// or else the first that is hardware. The bridge and its ports never are.
pub(super) fn uplinks(links: &[Link], pattern: Option<&str>, bridge: &str) -> Result<Vec<Link>> {
    let eligible = || {
        let ours = |link: &&Link| link.name != bridge && !link.name.starts_with(VETH_PREFIX);
        links.iter().filter(|link| link.ethernet).filter(ours)
    };
    let chosen: Vec<Link> = match pattern {
        Some(pattern) => eligible()
            .filter(|link| matches(pattern, &link.name))
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
    Err(NetError::Config(match pattern {
        Some(pattern) => {
            format!("no link matches network.uplink.interface = \"{pattern}\": {here}")
        }
        None => format!("no physical Ethernet link to use as uplink: {here}"),
    }))
}

/// Shell-like: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    // Where the last star was, and how much of the name it stands for so far.
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            Some(_) | None => {
                let Some((before, stood_for)) = star else {
                    return false;
                };
                star = Some((before, stood_for + 1));
                at = before + 1;
                seen = stood_for + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
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
        }
    }

    #[test]
    fn patterns() {
        let cases = [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("en*", "enp1s0", true),
            ("en*", "en", true),
            ("en*", "wlan0", false),
            ("*s0", "enp1s0", true),
            ("*s0", "enp1s01", false),
            ("e?h*", "eth7", true),
            ("e*h*0", "ethh0", true),
            ("*", "", true),
            ("?", "", false),
            ("**", "a", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
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
            match (uplinks(&links, pattern, "orlop0"), expected) {
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
        let none = uplinks(&links[..3], None, "orlop0")
            .unwrap_err()
            .to_string();
        assert!(
            none.contains("is the driver's module in the image?"),
            "{none}"
        );
    }
}
