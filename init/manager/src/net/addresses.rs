//! Which unit has which address on the bridge.
//!
//! [`Pool`] is pure: a unit keeps its address until it is released, and the
//! lowest free one is given out. [`Book`] keeps a pool in a file, written
//! beside and renamed, before anyone learns of an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use orlop_unit::Cidr;
use serde::{Deserialize, Serialize};

use super::error::{NetError, Result};

/// The most bytes that a record is read of: far more than a full /16 with the
/// longest names would need of units, and a bound against a runaway file.
const RECORD_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The addresses of one network, and who holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    net: Cidr,
    held: BTreeMap<String, Ipv4Addr>,
}

impl Pool {
    /// Nobody holds anything. The network needs room for the host and a unit:
    /// a prefix of 8 to 30.
    pub(super) fn new(net: Cidr) -> Result<Pool> {
        if !(8..=30).contains(&net.prefix_len) {
            return Err(NetError::Config(format!(
                "network.bridge.subnet is {net}; expected a prefix length from 8 to 30, such as \
                 10.89.0.0/16"
            )));
        }
        let first = Ipv4Addr::from_bits(net.address.to_bits() & net.mask());
        Ok(Pool {
            net: Cidr {
                address: first,
                prefix_len: net.prefix_len,
            },
            held: BTreeMap::new(),
        })
    }

    /// The host's own address: the first.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.net.address.to_bits() + 1)
    }

    pub(super) fn net(&self) -> Cidr {
        self.net
    }

    pub(super) fn address(&self, unit: &str) -> Option<Ipv4Addr> {
        self.held.get(unit).copied()
    }

    pub(super) fn holders(&self) -> &BTreeMap<String, Ipv4Addr> {
        &self.held
    }

    /// The unit's address; a new one if it has none.
    pub(super) fn reserve(&mut self, unit: &str) -> Result<Ipv4Addr> {
        if let Some(address) = self.address(unit) {
            return Ok(address);
        }
        let taken: BTreeSet<u32> = self
            .held
            .values()
            .map(|address| address.to_bits())
            .collect();
        let free = self.hosts().find(|bits| !taken.contains(bits));
        let address = free
            .map(Ipv4Addr::from_bits)
            .ok_or_else(|| NetError::SubnetFull {
                subnet: self.net.to_string(),
                used: self.held.len(),
            })?;
        self.held.insert(unit.to_owned(), address);
        Ok(address)
    }

    /// The unit's address is free again; whether it had one.
    pub(super) fn release(&mut self, unit: &str) -> bool {
        self.held.remove(unit).is_some()
    }

    /// The addresses for units: all but the network's, the host's and the
    /// broadcast address.
    fn hosts(&self) -> std::ops::Range<u32> {
        let first = self.net.address.to_bits();
        let last = first | !self.net.mask();
        first + 2..last
    }

    /// Takes over a record, as far as it fits the network; what does not fit
    /// (another network was configured, an address twice) is left out.
    fn restore(&mut self, record: BTreeMap<String, Ipv4Addr>) {
        let mut taken: BTreeSet<Ipv4Addr> = self.held.values().copied().collect();
        for (unit, address) in record {
            if self.hosts().contains(&address.to_bits()) && taken.insert(address) {
                self.held.insert(unit, address);
            }
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    addresses: BTreeMap<String, Ipv4Addr>,
}

/// A pool that lasts.
#[derive(Debug)]
pub(super) struct Book {
    pool: Pool,
    path: PathBuf,
}

impl Book {
    /// The record at `path`, for `net`. An unreadable record is set aside as
    /// `….bad` and reported: units get new addresses then, and go on working.
    pub(super) fn open(path: &Path, net: Cidr) -> Result<(Book, Option<String>)> {
        let mut pool = Pool::new(net)?;
        let problem = match read(path) {
            Ok(Some(record)) => {
                pool.restore(record.addresses);
                None
            }
            Ok(None) => None,
            Err(error) => Some(set_aside(path, &error)),
        };
        Ok((
            Book {
                pool,
                path: path.to_owned(),
            },
            problem,
        ))
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The unit's address, recorded before this returns.
    pub(super) fn reserve(&mut self, unit: &str) -> Result<Ipv4Addr> {
        if let Some(address) = self.pool.address(unit) {
            return Ok(address);
        }
        let mut changed = self.pool.clone();
        let address = changed.reserve(unit)?;
        self.write(&changed)?;
        self.pool = changed;
        Ok(address)
    }

    /// Forgets the unit's address. Should the record not be writable, the
    /// address stays taken on disk until the record is written the next time.
    pub(super) fn release(&mut self, unit: &str) -> Result<()> {
        if !self.pool.release(unit) {
            return Ok(());
        }
        self.write(&self.pool)
    }

    fn write(&self, pool: &Pool) -> Result<()> {
        let record = Record {
            version: 1,
            addresses: pool.held.clone(),
        };
        let failed = |source| NetError::File {
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_vec_pretty(&record).map_err(|error| failed(error.into()))?;
        write_beside(&self.path, &text).map_err(failed)
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(RECORD_BYTES_MAX).read_to_end(&mut text)?;
    let record: Record = serde_json::from_slice(&text)?;
    if record.version != 1 {
        let text = format!("version {} is not one that this host knows", record.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(record))
}

fn set_aside(path: &Path, error: &io::Error) -> String {
    let bad = path.with_extension("json.bad");
    let kept = match std::fs::rename(path, &bad) {
        Ok(()) => format!("it is kept as {}", bad.display()),
        Err(error) => format!("it could not be set aside: {error}"),
    };
    format!(
        "the record of addresses {} is unreadable ({error}); {kept}, and units get new addresses",
        path.display()
    )
}

/// Replaces a file as a whole: after a power cut it is the old or the new one.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str, prefix: u8) -> Cidr {
        Cidr {
            address: text.parse().unwrap(),
            prefix_len: prefix,
        }
    }

    #[test]
    fn addresses_start_after_the_host_and_stay() {
        let mut pool = Pool::new(net("10.89.0.77", 16)).unwrap();
        assert_eq!(pool.gateway(), Ipv4Addr::new(10, 89, 0, 1));
        assert_eq!(pool.reserve("web").unwrap(), Ipv4Addr::new(10, 89, 0, 2));
        assert_eq!(pool.reserve("db").unwrap(), Ipv4Addr::new(10, 89, 0, 3));
        assert_eq!(pool.reserve("web").unwrap(), Ipv4Addr::new(10, 89, 0, 2));
        assert!(pool.release("web"));
        assert!(!pool.release("web"));
        assert_eq!(pool.reserve("cache").unwrap(), Ipv4Addr::new(10, 89, 0, 2));
    }

    #[test]
    fn a_full_network_says_so() {
        let mut pool = Pool::new(net("192.0.2.0", 30)).unwrap();
        assert_eq!(pool.reserve("one").unwrap(), Ipv4Addr::new(192, 0, 2, 2));
        let error = pool.reserve("two").unwrap_err().to_string();
        assert!(
            error.contains("192.0.2.0/30 has no free address left (1 units"),
            "{error}"
        );
        assert!(Pool::new(net("192.0.2.0", 31)).is_err());
        assert!(Pool::new(net("0.0.0.0", 0)).is_err());
    }

    #[test]
    fn a_record_lasts_and_a_foreign_one_is_not_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("net/addresses.json");
        let (mut book, problem) = Book::open(&path, net("10.89.0.0", 16)).unwrap();
        assert_eq!(problem, None);
        book.reserve("a").unwrap();
        let b = book.reserve("b").unwrap();
        book.release("a").unwrap();
        let (again, _) = Book::open(&path, net("10.89.0.0", 16)).unwrap();
        assert_eq!(
            again.pool().holders(),
            &BTreeMap::from([("b".to_owned(), b)])
        );
        let (moved, _) = Book::open(&path, net("10.90.0.0", 16)).unwrap();
        assert!(moved.pool().holders().is_empty());
    }

    #[test]
    fn a_broken_record_is_set_aside() {
        let good = r#"{"version":1,"addresses":{"a":"10.89.0.2","b":"10.89.0.2"}}"#;
        let cases = [
            ("", Some("unreadable")),
            ("{", Some("unreadable")),
            (r#"{"version":2,"addresses":{}}"#, Some("version 2")),
            (
                r#"{"version":1,"addresses":{"a":"10.89.0"}}"#,
                Some("unreadable"),
            ),
            (good, None),
        ];
        for (text, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("addresses.json");
            std::fs::write(&path, text).unwrap();
            let (book, problem) = Book::open(&path, net("10.89.0.0", 16)).unwrap();
            match expected {
                Some(words) => {
                    assert!(problem.unwrap().contains(words));
                    assert!(directory.path().join("addresses.json.bad").exists());
                }
                None => assert_eq!(book.pool().holders().len(), 1, "an address has one holder"),
            }
        }
    }

    proptest! {
        /// Whatever is reserved and released: no address twice, all within the
        /// network, none of the host's, and a unit's never changes while held.
        #[test]
        fn no_two_units_share_an_address(
            prefix in 24u8..=30,
            steps in prop::collection::vec((any::<bool>(), 0u8..40), 0..200),
        ) {
            let mut pool = Pool::new(net("10.1.2.0", prefix)).unwrap();
            let room = (1usize << (32 - prefix)) - 3;
            let mut model: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
            for (reserve, unit) in steps {
                let unit = format!("u{unit}");
                if reserve {
                    match pool.reserve(&unit) {
                        Ok(address) => {
                            prop_assert!(pool.net().contains(address));
                            prop_assert_ne!(address, pool.gateway());
                            let before = model.insert(unit, address);
                            prop_assert!(before.is_none_or(|before| before == address));
                        }
                        Err(_) => {
                            prop_assert_eq!(model.len(), room);
                            prop_assert!(!model.contains_key(&unit));
                        }
                    }
                } else {
                    prop_assert_eq!(pool.release(&unit), model.remove(&unit).is_some());
                }
                let mut seen: Vec<_> = model.values().collect();
                seen.sort();
                seen.dedup();
                prop_assert_eq!(seen.len(), model.len());
                prop_assert_eq!(pool.holders(), &model);
            }
            let mut again = Pool::new(pool.net()).unwrap();
            again.restore(model.clone());
            prop_assert_eq!(again.holders(), &model);
        }
    }
}
