//! Uplink, bridge, veth pairs, packet filter and the name server of the bridge.
//!
//! ```text
//!              world                      containers
//!                |                            |
//!    uplink: DHCP or static         netns: eth0, default route
//!                |                            |
//!                +---- nft: who may ---- orlop0 (bridge) ---- dns
//!                                             |
//!                                   addresses: unit -> address
//! ```
//!
//! [`Network`] is all that the rest of the manager sees. It knows units as
//! names with addresses and ports; what units are, and when they start, it
//! does not know. All that it makes in the kernel is made again, or found, when
//! the manager starts anew: no packet of a running container is lost to that.
//!
//! Of Debian's kernel it needs the modules `bridge`, `veth`, `nf_tables`,
//! `nft_chain_nat`, `nft_ct`, `nft_fib_inet`, `nft_masq` and `nft_nat`, with
//! what they depend on, loaded before it starts: nothing loads them on demand.

mod addresses;
mod dns;
mod error;
mod links;
mod netns;
mod nft;
mod ports;
mod published;
mod sysctl;
#[cfg(test)]
mod tests;
mod uplink;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_unit::{Cidr, NetworkConfig, PortMap, Protocol};
use rustix::process::Pid;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

pub use error::{NetError, Result};
pub use nft::NftError;
pub use uplink::UplinkStatus;

use addresses::Book;
use links::{Link, Links};
use netns::Namespace;
use nft::{MAX_FORWARDS, PortForward, Proto};
use published::Published;
use uplink::UplinkConfig;

/// The bridge's link name.
pub const BRIDGE: &str = "orlop0";
/// What the host's ends of containers' links begin with.
const VETH_PREFIX: &str = "vo";
/// A container's link, in the container.
const CONTAINER_LINK: &str = "eth0";
/// The TCP port of the API, until [`Network::set_api_port`] says otherwise.
const API_PORT: u16 = 7470;
/// Where the host's name servers are written, for its own programs.
const RESOLV_CONF: &str = "/run/orlop/resolv.conf";
/// Where the manager keeps what is gone after a boot.
const RUNTIME_DIR: &str = "/run/orlop/manager";
/// First bytes of our link addresses: locally administered, for one station.
const MAC_PREFIX: [u8; 2] = [0x0a, 0x6f];

/// Everything that the network is told.
#[derive(Clone, Debug)]
struct Settings {
    uplink: UplinkConfig,
    subnet: Cidr,
    /// For what is to outlive the manager but not the host's boot.
    runtime_dir: PathBuf,
}

/// The host's network. It works for as long as this is held.
#[derive(Debug)]
pub struct Network {
    gateway: Ipv4Addr,
    subnet: Cidr,
    bridge: Link,
    links: Links,
    book: Arc<Mutex<Book>>,
    filter: tokio::sync::Mutex<Filter>,
    record: PathBuf,
    status: watch::Receiver<UplinkStatus>,
    uplink: JoinHandle<()>,
    _dns: dns::Server,
}

/// What the packet filter is for.
#[derive(Clone, Debug)]
struct Filter {
    api_port: Option<u16>,
    published: Published,
}

impl Network {
    /// Brings the network up, or finds it up: bridge, packet filter, switches
    /// of the kernel, name server. The uplink follows in the background; it
    /// tells DHCP servers `hostname`.
    ///
    /// # Errors
    /// Whatever of that the kernel refuses, and a configuration that cannot
    /// work. An uplink without address is no error; see [`Network::uplink`].
    pub async fn start(cfg: &NetworkConfig, hostname: &str, state_dir: &Path) -> Result<Network> {
        let resolv_conf = PathBuf::from(RESOLV_CONF);
        let uplink = UplinkConfig {
            uplink: cfg.uplink.clone(),
            hostname: hostname.to_owned(),
            resolv_conf,
        };
        let runtime_dir = PathBuf::from(RUNTIME_DIR);
        let settings = Settings {
            uplink,
            subnet: cfg.bridge.subnet,
            runtime_dir,
        };
        Network::start_with(settings, state_dir).await
    }

    async fn start_with(settings: Settings, state_dir: &Path) -> Result<Network> {
        let (book, problem) = Book::open(&state_dir.join("addresses.json"), settings.subnet)?;
        if let Some(problem) = problem {
            warn!("{problem}");
        }
        let (gateway, subnet) = (book.pool().gateway(), book.pool().net());
        let links = Links::open()?;
        let record = settings.runtime_dir.join("published.json");
        let published = published::living(&record, &links.list().await?, book.pool());
        let filter = Filter {
            api_port: Some(API_PORT),
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
        let (status, uplink) =
            uplink::start(settings.uplink, subnet, BRIDGE.to_owned(), links.clone())?;
        let book = Arc::new(Mutex::new(book));
        let dns = match dns::serve(Arc::clone(&book), gateway, status.clone()).await {
            Ok(dns) => dns,
            Err(error) => {
                uplink.abort();
                return Err(error);
            }
        };
        let filter = tokio::sync::Mutex::new(filter);
        Ok(Network {
            gateway,
            subnet,
            bridge,
            links,
            book,
            filter,
            record,
            status,
            uplink,
            _dns: dns,
        })
    }

    /// The unit's address on the bridge, its own until it is released. It is
    /// recorded when this returns.
    ///
    /// # Errors
    /// The containers' network is full, or the record cannot be written.
    pub fn reserve(&self, unit: &str) -> Result<Ipv4Addr> {
        self.book().reserve(unit)
    }

    /// Frees the unit's address, for a unit that is gone for good.
    pub fn release(&self, unit: &str) {
        if let Err(error) = self.book().release(unit) {
            warn!(unit, %error, "the record of addresses still has a released one");
        }
    }

    /// The host's address on the bridge: the containers' router and name
    /// server.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// The prefix length of the containers' network.
    pub fn prefix_len(&self) -> u8 {
        self.subnet.prefix_len
    }

    /// Connects a created container: link, address, way out, published ports.
    ///
    /// # Errors
    /// No address is reserved for the unit, a port is not free, or the kernel
    /// refuses. Nothing is left behind then.
    pub async fn attach(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
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
    /// As for [`Network::attach`].
    pub async fn adopt(&self, unit: &str, pid: Pid, ports: &[PortMap]) -> Result<()> {
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
    pub async fn detach(&self, unit: &str) -> Result<()> {
        let mut filter = self.filter.lock().await;
        let removed = self.links.remove(&veth(unit)).await;
        if filter.published.contains_key(unit) {
            self.publish(&mut filter, unit, Vec::new()).await?;
        }
        removed.map(|_| ())
    }

    /// What the uplinks are like, now and whenever that changes.
    pub fn uplink(&self) -> watch::Receiver<UplinkStatus> {
        self.status.clone()
    }

    /// Which TCP port of the uplinks is open for the API; none when it does not
    /// listen there. At first it is 7470.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn set_api_port(&self, port: Option<u16>) -> Result<()> {
        let mut filter = self.filter.lock().await;
        if filter.api_port == port {
            return Ok(());
        }
        let changed = Filter {
            api_port: port,
            ..filter.clone()
        };
        install(&changed, self.subnet, self.gateway).await?;
        *filter = changed;
        Ok(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
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
        let address = (self.address(unit)?, self.subnet.prefix_len);
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
            published::write(&self.record, &changed.published)?;
            install(&changed, self.subnet, self.gateway).await?;
            *filter = changed;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.uplink.abort();
    }
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
fn veth(unit: &str) -> String {
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
