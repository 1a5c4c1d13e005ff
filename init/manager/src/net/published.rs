//! The record of published ports, which outlives the manager.
//!
//! A new manager puts the packet filter in place before it knows of any
//! container. With this record, ports of containers that go on running stay
//! published meanwhile. A container's link goes with its network namespace, so
//! the links tell which entries still hold.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tracing::warn;

use super::addresses::{Pool, write_beside};
use super::error::{NetError, Result};
use super::links::Link;
use super::nft::{MAX_FORWARDS, PortForward};
use super::wiring::veth;

/// Published ports by unit.
pub(super) type Published = BTreeMap<String, Vec<PortForward>>;

/// What the record says of units that still have a link and their address.
/// Without a readable record no port is published until its unit is taken over.
pub(super) fn living(path: &Path, links: &[Link], pool: &Pool) -> Published {
    let mut record = match read(path) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Published::new(),
        Err(error) => {
            warn!(path = %path.display(), %error, "the record of published ports is unreadable");
            return Published::new();
        }
    };
    record.retain(|unit, forwards| {
        let name = veth(unit);
        let address = pool.address(unit);
        links.iter().any(|link| link.name == name)
            && forwards
                .iter()
                .all(|forward| Some(*forward.to.ip()) == address)
    });
    if record.values().map(Vec::len).sum::<usize>() > MAX_FORWARDS {
        warn!(path = %path.display(), "the record of published ports is too long");
        return Published::new();
    }
    record
}

fn read(path: &Path) -> io::Result<Published> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Replaces the record.
pub(super) fn write(path: &Path, published: &Published) -> Result<()> {
    let failed = |source| NetError::File {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec(published).map_err(|error| failed(error.into()))?;
    write_beside(path, &text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use orlop_unit::Cidr;

    use super::super::nft::Proto;
    use super::*;

    #[test]
    fn only_the_living_stay_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/published.json");
        let net = Cidr {
            address: Ipv4Addr::new(10, 89, 0, 0),
            prefix_len: 16,
        };
        let mut pool = Pool::new(net).unwrap();
        let forward = |to| {
            let to = SocketAddrV4::new(to, 80);
            vec![PortForward {
                proto: Proto::Tcp,
                host_ip: None,
                host_port: 80,
                to,
            }]
        };
        let mut published = Published::new();
        for unit in ["alive", "dead", "moved"] {
            published.insert(unit.to_owned(), forward(pool.reserve(unit).unwrap()));
        }
        published.insert("moved".to_owned(), forward(Ipv4Addr::new(10, 89, 9, 9)));
        let link = |unit| Link {
            index: 3,
            name: veth(unit),
            mac: [0; 6],
            ethernet: true,
            made: true,
            up: true,
            carrier: true,
            running: true,
        };
        let links = [link("alive"), link("moved")];
        assert!(living(&path, &links, &pool).is_empty(), "no record");
        write(&path, &published).unwrap();
        let kept: Vec<String> = living(&path, &links, &pool).into_keys().collect();
        assert_eq!(kept, ["alive"]);
        std::fs::write(&path, "{").unwrap();
        assert!(living(&path, &links, &pool).is_empty(), "a broken record");
    }
}
