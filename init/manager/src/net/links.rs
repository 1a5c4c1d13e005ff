//! Links, addresses and routes of one network namespace, by rtnetlink.
//!
//! Every operation is idempotent: it says what is to be, and finding it
//! already so is success. Knows no units, and no policy of which link is what.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope, CacheInfo};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use rustix::io::Errno;
use tokio::sync::Mutex;

use super::error::{NetError, Result, errno};

/// The kernel acts on carriers at least once a second.
const SETTLED_WITHIN: Duration = Duration::from_millis(1500);

/// A network link, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    /// An Ethernet, by its hardware type.
    pub(super) ethernet: bool,
    /// Made by software (bridge, veth, vlan, ...) rather than found.
    pub(super) made: bool,
    /// Set up by an administrator, that is us.
    pub(super) up: bool,
    /// There is something at the other end.
    pub(super) carrier: bool,
    /// The kernel has acted on all that, and packets pass.
    pub(super) running: bool,
}

/// A route to `destination`, straight or by way of `gateway`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: (Ipv4Addr, u8),
    pub(super) gateway: Option<Ipv4Addr>,
}

/// A netlink socket in one network namespace.
#[derive(Clone, Debug)]
pub(super) struct Links {
    handle: Handle,
    /// Held while a list is read: the kernel gives one socket one list at a time,
    /// and refuses who asks for another meanwhile with EBUSY.
    listing: Arc<Mutex<()>>,
}

impl Links {
    /// In the network namespace of the calling thread, for good: a netlink
    /// socket stays where it was opened.
    pub(super) fn open() -> Result<Links> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| NetError::Link {
                doing: "open a netlink socket".to_owned(),
                why: error.to_string(),
            })?;
        tokio::spawn(connection);
        Ok(Links {
            handle,
            listing: Arc::default(),
        })
    }

    /// Every link, by index.
    pub(super) async fn list(&self) -> Result<Vec<Link>> {
        let _alone = self.listing.lock().await;
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetError::link("list the network links", &error))?;
        let mut links: Vec<Link> = messages.iter().map(read_link).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link of that name, if there is one.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Link>> {
        Ok(self
            .list()
            .await?
            .into_iter()
            .find(|link| link.name == name))
    }

    /// Sets a link up.
    pub(super) async fn set_up(&self, link: &Link) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(|error| NetError::link(format!("set link {} up", link.name), &error))
    }

    /// A bridge of that name, made when it is not there.
    pub(super) async fn bridge(&self, name: &str, mac: [u8; 6]) -> Result<Link> {
        if self.find(name).await?.is_none() {
            // A bridge without an address of its own takes a port's, and
            // changes it whenever ports come and go.
            let message = LinkBridge::new(name).address(mac.to_vec()).up().build();
            let made = self.handle.link().add(message).execute().await;
            unless(made, Errno::EXIST, || format!("make the bridge {name}"))?;
        }
        let missing = || NetError::Link {
            doing: format!("make the bridge {name}"),
            why: "it is gone again".to_owned(),
        };
        let link = self.find(name).await?.ok_or_else(missing)?;
        self.set_up(&link).await?;
        Ok(link)
    }

    /// A veth pair: `host` here, a port of `bridge`; `eth0` in the namespace
    /// `peer`, where it appears in one go, so that nothing has to be tidied up
    /// after an interruption. `eth0` is down: the kernel opens no half of a
    /// pair.
    pub(super) async fn veth(
        &self,
        host: &str,
        bridge: &Link,
        peer: BorrowedFd<'_>,
        peer_mac: [u8; 6],
    ) -> Result<()> {
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(super::wiring::CONTAINER_LINK)
            .address(peer_mac.to_vec())
            .setns_by_fd(peer.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(host)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .controller(bridge.index)
            .up()
            .build();
        let made = self.handle.link().add(message).execute().await;
        made.map_err(|error| NetError::link(format!("make the veth pair {host}"), &error))
    }

    /// Makes a link a port of the bridge, and sets it up.
    pub(super) async fn join(&self, link: &Link, bridge: &Link) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index)
            .controller(bridge.index)
            .up()
            .build();
        let doing = || format!("join link {} to {}", link.name, bridge.name);
        let joined = self.handle.link().set(message).execute().await;
        joined.map_err(|error| NetError::link(doing(), &error))
    }

    /// Waits until packets pass the links: the kernel acts on a new carrier a
    /// little later, and until then drops what a container sends first, which
    /// a resolver repeats only after seconds. Whether they pass in time.
    pub(super) async fn settled(&self, names: &[&str]) -> Result<bool> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let mut pause = Duration::from_millis(1);
        loop {
            let links = self.list().await?;
            // A bridge whose last port went may still count as running, and stop
            // only after the next one has come: its carrier tells.
            let passes = |link: &Link| link.running && link.carrier;
            let running = |name: &&str| links.iter().any(|l| l.name == **name && passes(l));
            if names.iter().all(running) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes a link; whether it was there.
    pub(super) async fn remove(&self, name: &str) -> Result<bool> {
        let Some(link) = self.find(name).await? else {
            return Ok(false);
        };
        let removed = self.handle.link().del(link.index).execute().await;
        unless(removed, Errno::NODEV, || format!("remove link {name}"))?;
        Ok(true)
    }

    /// Gives a link an address; for `lifetime_s` seconds when it is a lease.
    pub(super) async fn add_address(
        &self,
        link: &Link,
        (address, prefix): (Ipv4Addr, u8),
        lifetime_s: Option<u32>,
    ) -> Result<()> {
        let mut request = self
            .handle
            .address()
            .add(link.index, IpAddr::V4(address), prefix)
            .replace();
        if let Some(seconds) = lifetime_s {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = seconds;
            lifetime.ifa_valid = seconds;
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::CacheInfo(lifetime));
        }
        let doing = || format!("give link {} the address {address}/{prefix}", link.name);
        request
            .execute()
            .await
            .map_err(|error| NetError::link(doing(), &error))
    }

    /// The IPv4 addresses of a link that are valid beyond it.
    pub(super) async fn addresses(&self, link: &Link) -> Result<Vec<(Ipv4Addr, u8)>> {
        let doing = || format!("list the addresses of link {}", link.name);
        let request = self
            .handle
            .address()
            .get()
            .set_link_index_filter(link.index);
        let _alone = self.listing.lock().await;
        let messages: Vec<_> = request
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetError::link(doing(), &error))?;
        let global = messages.iter().filter(|message| {
            message.header.index == link.index && message.header.scope == AddressScope::Universe
        });
        let address = |message: &rtnetlink::packet_route::address::AddressMessage| {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => {
                        Some((*address, message.header.prefix_len))
                    }
                    _ => None,
                })
        };
        Ok(global.filter_map(address).collect())
    }

    /// Takes every other address from a link than those to `keep`.
    pub(super) async fn keep_addresses(&self, link: &Link, keep: &[(Ipv4Addr, u8)]) -> Result<()> {
        for address in self.addresses(link).await? {
            if keep.contains(&address) {
                continue;
            }
            let message = rtnetlink::AddressMessageBuilder::<Ipv4Addr>::new()
                .index(link.index)
                .address(address.0, address.1)
                .build();
            let removed = self.handle.address().del(message).execute().await;
            let doing = || format!("take the address {} from link {}", address.0, link.name);
            unless(removed, Errno::ADDRNOTAVAIL, doing)?;
        }
        Ok(())
    }

    /// Makes `routes` the link's only ones of `protocol`.
    pub(super) async fn set_routes(
        &self,
        link: &Link,
        routes: &[Route],
        protocol: RouteProtocol,
        metric: u32,
    ) -> Result<()> {
        for route in routes {
            let message = route_message(link, *route, protocol, metric);
            let added = self.handle.route().add(message).replace().execute().await;
            let doing = || format!("route {}/{}", route.destination.0, route.destination.1);
            added.map_err(|error| NetError::link(doing(), &error))?;
        }
        for old in self.routes(link, protocol).await? {
            if routes.contains(&read_route(&old)) {
                continue;
            }
            let removed = self.handle.route().del(old).execute().await;
            unless(removed, Errno::SRCH, || {
                format!("remove a route of {}", link.name)
            })?;
        }
        Ok(())
    }

    async fn routes(&self, link: &Link, protocol: RouteProtocol) -> Result<Vec<RouteMessage>> {
        let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let doing = || format!("list the routes of link {}", link.name);
        let _alone = self.listing.lock().await;
        let messages: Vec<RouteMessage> = self
            .handle
            .route()
            .get(request)
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetError::link(doing(), &error))?;
        let ours = |message: &RouteMessage| {
            message.header.protocol == protocol
                && message.header.kind == RouteType::Unicast
                && message
                    .attributes
                    .contains(&RouteAttribute::Oif(link.index))
        };
        Ok(messages.into_iter().filter(ours).collect())
    }
}

/// Success, or the one error that means the same.
fn unless(
    result: Result<(), rtnetlink::Error>,
    harmless: Errno,
    doing: impl FnOnce() -> String,
) -> Result<()> {
    match result {
        Err(error) if errno(&error) == Some(harmless.raw_os_error()) => Ok(()),
        other => other.map_err(|error| NetError::link(doing(), &error)),
    }
}

fn route_message(link: &Link, route: Route, protocol: RouteProtocol, metric: u32) -> RouteMessage {
    let (destination, prefix) = route.destination;
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination, prefix)
        .output_interface(link.index)
        .protocol(protocol)
        .priority(metric);
    match route.gateway {
        // A gateway may lie outside the link's own network (a /32 lease).
        Some(gateway) => builder.gateway(gateway).onlink().build(),
        None => builder
            .scope(rtnetlink::packet_route::route::RouteScope::Link)
            .build(),
    }
}

fn read_route(message: &RouteMessage) -> Route {
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut gateway = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            _ => {}
        }
    }
    Route {
        destination: (destination, message.header.destination_prefix_length),
        gateway,
    }
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        made: false,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        running: message.header.flags.contains(LinkFlags::Running),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                if let Ok(mac) = <[u8; 6]>::try_from(bytes.as_slice()) {
                    link.mac = mac;
                }
            }
            LinkAttribute::LinkInfo(infos) => {
                link.made = infos.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
            }
            _ => {}
        }
    }
    link
}
