//! What the network is made of in the kernel: the bridge, containers' links,
//! the packet filter, the uplinks' addresses, and the name server on the bridge.
//!
//! All of it is made again, or found, when the manager starts anew.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_unit::{Cidr, PortMap, Protocol};
use rustix::process::Pid;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::addresses::Book;
use super::error::{NetError, Result};
use super::links::{Link, Links};
use super::netns::Namespace;
use super::nft::{self, MAX_FORWARDS, PortForward, Proto};
use super::published::{self, Published};
use super::uplink::{self, UplinkStatus};
use super::{BRIDGE, Settings, dns, ports, sysctl};

/// What the host's ends of containers' links begin with.
pub(super) const VETH_PREFIX: &str = "vo";
/// A container's link, in the container.
pub(super) const CONTAINER_LINK: &str = "eth0";
/// First bytes of our link addresses: locally administered, for one station.
const MAC_PREFIX: [u8; 2] = [0x0a, 0x6f];

/// The network that is up. It works for as long as this is held.
#[derive(Debug)]
pub(super) struct Wiring {
    settings: Arc<Settings>,
    gateway: Ipv4Addr,
    bridge: Link,
    links: Links,
    book: Arc<Mutex<Book>>,
    filter: tokio::sync::Mutex<Filter>,
    uplink: JoinHandle<()>,
    _dns: dns::Server,
}

/// What the packet filter is for.
#[derive(Clone, Debug)]
struct Filter {
    api_port: Option<u16>,
    published: Published,
}

impl Wiring {
    /// Brings the network up, or finds it up. The uplinks follow in the
    /// background; `status` tells of them.
    ///
    /// # Errors
    /// Whatever of that the kernel refuses, and a configuration that cannot
    /// work. An uplink without address is no error.
    pub(super) async fn up(
        settings: Arc<Settings>,
        book: Arc<Mutex<Book>>,
        api_port: Option<u16>,
        status: watch::Sender<UplinkStatus>,
    ) -> Result<Wiring> {
        let (gateway, subnet) = (lock(&book).pool().gateway(), settings.subnet);
        let links = Links::open()?;
        let present = links.list().await?;
        let published = published::living(&settings.record(), &present, lock(&book).pool());
        let filter = Filter {
            api_port,
            published,
        };
        // Before there is anything to protect.
        install(&filter, subnet, gateway).await?;
        sysctl::general()?;
        if let Some(loopback) = links.find("lo").await? {
            links.set_up(&loopback).await?;
        }
        let bridge = links.bridge(BRIDGE, mac(gateway)).await?;
        sysctl::bridge(BRIDGE)?;
        let address = (gateway, subnet.prefix_len);
        links.add_address(&bridge, address, None).await?;
        links.keep_addresses(&bridge, &[address]).await?;
        let dns = dns::serve(Arc::clone(&book), gateway, status.subscribe()).await?;
        let config = settings.uplink.clone();
        let uplink = uplink::start(config, subnet, BRIDGE.to_owned(), links.clone(), status)?;
        Ok(Wiring {
            settings,
            gateway,
            bridge,
            links,
            book,
            filter: tokio::sync::Mutex::new(filter),
            uplink,
            _dns: dns,
        })
    }

    /// The links, to look at them.
    #[cfg(test)]
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// Connects a created container: link, address, way out, published ports.
    ///
    /// # Errors
    /// No address is reserved for the unit, a port is not free, or the kernel
    /// refuses. Nothing is left behind then.
    pub(super) async fn attach(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
        let forwards = self.forwards(unit, ports)?;
        let namespace = Namespace::of(pid)?;
        let mut filter = self.filter.lock().await;
        self.check(&filter, unit, &forwards)?;
        // An earlier container of the unit may have left its link.
        self.links.remove(&veth(unit)).await?;
        self.wire(unit, &namespace).await?;
        if let Err(error) = self.publish(&mut filter, unit, forwards).await {
            self.links.remove(&veth(unit)).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Takes over a container that an earlier manager connected: what is as it
    /// should be stays untouched, what is missing is made.
    ///
    /// # Errors
    /// As for [`Wiring::attach`].
    pub(super) async fn adopt(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
        let forwards = self.forwards(unit, ports)?;
        let namespace = Namespace::of(pid)?;
        let mut filter = self.filter.lock().await;
        self.check(&filter, unit, &forwards)?;
        let inside = namespace.links().await?.find(CONTAINER_LINK).await?;
        match self.links.find(&veth(unit)).await? {
            Some(host) if inside.is_some() => {
                self.links.join(&host, &self.bridge).await?;
                self.configure(unit, &namespace).await?;
            }
            Some(_) => {
                self.links.remove(&veth(unit)).await?;
                self.wire(unit, &namespace).await?;
            }
            None => self.wire(unit, &namespace).await?,
        }
        self.publish(&mut filter, unit, forwards).await
    }

    /// Removes a container's link and published ports, if they are there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn detach(&self, unit: &str) -> Result<()> {
        let mut filter = self.filter.lock().await;
        let removed = self.links.remove(&veth(unit)).await;
        if filter.published.contains_key(unit) {
            self.publish(&mut filter, unit, Vec::new()).await?;
        }
        removed.map(|_| ())
    }

    /// Which TCP port of the uplinks is open for the API; none when it does not
    /// listen there. At first it is 7470.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn set_api_port(&self, port: Option<u16>) -> Result<()> {
        let mut filter = self.filter.lock().await;
        if filter.api_port == port {
            return Ok(());
        }
        let changed = Filter {
            api_port: port,
            ..filter.clone()
        };
        install(&changed, self.settings.subnet, self.gateway).await?;
        *filter = changed;
        Ok(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn address(&self, unit: &str) -> Result<Ipv4Addr> {
        let address = self.book().pool().address(unit);
        address.ok_or_else(|| NetError::NotReserved(unit.to_owned()))
    }

    fn forwards(&self, unit: &str, ports: &[PortMap]) -> Result<Vec<PortForward>> {
        let address = self.address(unit)?;
        Ok(ports
            .iter()
            .map(|port| PortForward {
                proto: proto(port.protocol),
                host_ip: port.host_ip,
                host_port: port.host,
                to: SocketAddrV4::new(address, port.container),
            })
            .collect())
    }

    fn check(&self, filter: &Filter, unit: &str, forwards: &[PortForward]) -> Result<()> {
        let others = || filter.published.iter().filter(|(other, _)| *other != unit);
        let wanted = others().map(|(_, theirs)| theirs.len()).sum::<usize>() + forwards.len();
        if wanted > MAX_FORWARDS {
            return Err(NetError::TooManyPorts {
                wanted,
                limit: MAX_FORWARDS,
            });
        }
        for forward in forwards {
            ports::free_of_api(forward, filter.api_port)?;
            ports::free_of_units(forward, others())?;
            ports::free_of_host(forward, dns::PORT)?;
        }
        Ok(())
    }

    async fn wire(&self, unit: &str, namespace: &Namespace) -> Result<()> {
        let (name, peer) = (veth(unit), mac(self.address(unit)?));
        self.links
            .veth(&name, &self.bridge, namespace.as_fd(), peer)
            .await?;
        if let Err(error) = self.configure(unit, namespace).await {
            self.links.remove(&name).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Gives the container its address and way out, and waits for the way.
    async fn configure(&self, unit: &str, namespace: &Namespace) -> Result<()> {
        let address = (self.address(unit)?, self.settings.subnet.prefix_len);
        let inside = namespace.configure(address, self.gateway).await?;
        if !inside || !self.links.settled(&[BRIDGE, &veth(unit)]).await? {
            warn!(unit, "the container starts before its link passes packets");
        }
        Ok(())
    }

    /// Makes `forwards` the unit's published ports; unchanged if it fails.
    async fn publish(
        &self,
        filter: &mut Filter,
        unit: &str,
        forwards: Vec<PortForward>,
    ) -> Result<()> {
        let mut changed = filter.clone();
        if forwards.is_empty() {
            changed.published.remove(unit);
        } else {
            changed.published.insert(unit.to_owned(), forwards);
        }
        if changed.published != filter.published {
            // First the record: of what it says too much, the next start keeps
            // only what still has a link.
            published::write(&self.settings.record(), &changed.published)?;
            install(&changed, self.settings.subnet, self.gateway).await?;
            *filter = changed;
        }
        Ok(())
    }
}

impl Drop for Wiring {
    fn drop(&mut self) {
        self.uplink.abort();
    }
}

/// The book, whatever became of who had it before.
pub(super) fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn proto(protocol: Protocol) -> Proto {
    match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
    }
}

/// Hands the packet filter to the kernel, on a thread that may wait for it.
async fn install(filter: &Filter, subnet: Cidr, gateway: Ipv4Addr) -> Result<()> {
    let state = nft::State {
        bridge: BRIDGE.to_owned(),
        subnet,
        gateway,
        api_port: filter.api_port,
        forwards: filter.published.values().flatten().cloned().collect(),
    };
    let replaced = tokio::task::spawn_blocking(move || nft::replace(&nft::ruleset(&state))).await;
    replaced
        .map_err(|_| NetError::Ended("setting the packet filter"))?
        .map_err(NetError::from)
}

/// The host's end of a unit's link. A unit's name may be longer than a link's;
/// twelve digits of its hash do not meet by chance.
pub(super) fn veth(unit: &str) -> String {
    let digest = Sha256::digest(unit.as_bytes());
    let hex: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{VETH_PREFIX}{hex}")
}

/// The link address that goes with an address: a container that comes back is
/// known to its neighbours at once.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [MAC_PREFIX[0], MAC_PREFIX[1], a, b, c, d]
}
