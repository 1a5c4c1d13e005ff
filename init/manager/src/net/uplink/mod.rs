//! The way out: links to the world outside, their addresses and routes.
//!
//! One task owns all of it. It looks at the links whenever the kernel reports
//! a change (and once a minute, should a report be lost), gives each chosen
//! link its configured address or a DHCP client of its own, applies what the
//! clients report, and publishes the result. A link may come late, go, and
//! come back; nothing here ever gives up.

mod choose;
mod dhcp;
mod resolv;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use orlop_unit::{Addressing, Cidr, Uplink};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::error::{NetError, Result};
use super::links::{Link, Links, Route};
use super::sysctl;

/// Links change in bursts; one look after this long covers a burst.
const SETTLE: Duration = Duration::from_millis(20);
/// How often the links are looked at without a report, and how soon when the
/// last look could not do all that it should.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// The metric of the first uplink's routes; each further one adds one.
const METRIC: u32 = 100;
/// Reports of DHCP clients that may wait; clients wait for room.
const REPORTS: usize = 16;

/// An address on an uplink, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// The address and its prefix length.
    pub(super) address: (Ipv4Addr, u8),
    /// The way to everywhere else.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Further routes: destination, prefix length, gateway (none: on the link).
    pub(super) routes: Vec<(Ipv4Addr, u8, Option<Ipv4Addr>)>,
    /// Name servers, best first.
    pub(super) dns: Vec<IpAddr>,
    /// Seconds that the address is good for; a configured one for ever.
    pub(super) lifetime_s: Option<u32>,
}

/// What the uplinks are configured to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UplinkConfig {
    /// Which links, and how they get their addresses.
    pub(super) uplink: Uplink,
    /// The name that DHCP servers are told.
    pub(super) hostname: String,
    /// Where the host's `resolv.conf` goes.
    pub(super) resolv_conf: PathBuf,
}

/// What the uplinks are like at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// The names of the uplinks.
    pub links: Vec<String>,
    /// Their addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, best first.
    pub dns: Vec<IpAddr>,
    /// Why there is no address, or not all that there should be.
    pub problem: Option<String>,
}

/// What a DHCP client has to say about its link.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Leased(Lease),
    Lapsed,
    Problem(String),
}

struct Active {
    link: Link,
    client: Option<JoinHandle<()>>,
    lease: Option<Lease>,
    /// When the lease was given.
    leased_at: Instant,
    /// The lease is on the link.
    applied: bool,
    problem: Option<String>,
}

struct Uplinks {
    config: UplinkConfig,
    subnet: Cidr,
    bridge: String,
    links: Links,
    active: BTreeMap<u32, Active>,
    reports: mpsc::Sender<(u32, Report)>,
    status: watch::Sender<UplinkStatus>,
    /// What the last look at the links could not do.
    problem: Option<String>,
    resolv_conf: Option<String>,
    /// The name servers that the manager before had by DHCP. They hold until
    /// there is a lease, or none any more: containers ask on meanwhile.
    inherited: Vec<IpAddr>,
}

/// Starts the task. It runs until it is aborted; its state lasts only as long.
pub(super) fn start(
    config: UplinkConfig,
    subnet: Cidr,
    bridge: String,
    links: Links,
    status: watch::Sender<UplinkStatus>,
) -> Result<JoinHandle<()>> {
    let (connection, _handle, events) =
        new_multicast_connection(&[MulticastGroup::Link]).map_err(|error| NetError::Link {
            doing: "watch the network links".to_owned(),
            why: error.to_string(),
        })?;
    tokio::spawn(connection);
    let (reports, inbox) = mpsc::channel(REPORTS);
    let inherited = match config.uplink.addressing {
        Addressing::Dhcp => resolv::read(&config.resolv_conf),
        Addressing::Static { .. } => Vec::new(),
    };
    let uplinks = Uplinks {
        config,
        subnet,
        bridge,
        links,
        active: BTreeMap::new(),
        reports,
        status,
        problem: None,
        resolv_conf: None,
        inherited,
    };
    Ok(tokio::spawn(uplinks.run(events.map(|_| ()), inbox)))
}

impl Uplinks {
    async fn run(
        mut self,
        events: impl futures_util::Stream<Item = ()>,
        mut inbox: mpsc::Receiver<(u32, Report)>,
    ) {
        let mut events = std::pin::pin!(events.fuse());
        loop {
            self.problem = self.look().await.err().map(|error| error.to_string());
            self.publish().await;
            let pause = if self.problem.is_some() {
                TRY_AGAIN
            } else {
                LOOK_AGAIN
            };
            tokio::select! {
                Some(()) = events.next() => {
                    tokio::time::sleep(SETTLE).await;
                    // The rest of the burst.
                    while let Some(Some(())) = futures_util::FutureExt::now_or_never(events.next()) {}
                }
                Some((index, report)) = inbox.recv() => self.take(index, report),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Compares the links with what should be, and acts on the difference.
    async fn look(&mut self) -> Result<()> {
        let found = self.links.list().await?;
        let chosen = choose::uplinks(&found, &self.config.uplink, &self.bridge)?;
        let gone = |index: &u32| !chosen.iter().any(|link| link.index == *index);
        let lost: Vec<u32> = self.active.keys().copied().filter(gone).collect();
        for active in lost.iter().filter_map(|index| self.active.remove(index)) {
            info!(link = %active.link.name, "uplink is gone");
        }
        let mut outcome = Ok(());
        for (place, link) in chosen.into_iter().enumerate() {
            let metric = METRIC + u32::try_from(place).unwrap_or(0);
            if let Err(error) = self.attend(link, place == 0, metric).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn attend(&mut self, link: Link, first: bool, metric: u32) -> Result<()> {
        let index = link.index;
        let active = self.active.entry(index).or_insert_with(|| {
            info!(link = %link.name, "uplink found");
            Active {
                link: link.clone(),
                client: None,
                lease: None,
                leased_at: Instant::now(),
                applied: false,
                problem: None,
            }
        });
        if !link.up {
            // The kernel forgets the routes of a link that goes down.
            active.applied = false;
            sysctl::uplink(&link.name)?;
            self.links.set_up(&link).await?;
        }
        let carrier = link.carrier;
        active.link = link;
        match self.config.uplink.addressing {
            Addressing::Static { address, gateway } if first => {
                active.lease = Some(configured(address, gateway));
            }
            Addressing::Static { .. } => {}
            Addressing::Dhcp if carrier => {
                if active.client.as_ref().is_none_or(JoinHandle::is_finished) {
                    let client =
                        dhcp::Client::new(&active.link, &self.config.hostname, self.subnet);
                    active.problem = Some("waiting for a DHCP server".to_owned());
                    active.client = Some(tokio::spawn(client.run(self.reports.clone())));
                }
            }
            // The lease stays until its time is over: cables are plugged back.
            Addressing::Dhcp => active.stop_client(),
        }
        active.expire();
        if active.lease.is_some() && !active.applied {
            apply(&self.links, active, metric).await?;
        }
        Ok(())
    }

    fn take(&mut self, index: u32, report: Report) {
        let Some(active) = self.active.get_mut(&index) else {
            return;
        };
        let link = active.link.name.as_str();
        match report {
            Report::Leased(lease) => {
                info!(link, address = %lease.address.0, "uplink has a lease");
                active.lease = Some(lease);
                active.leased_at = Instant::now();
                active.applied = false;
                active.problem = None;
                self.inherited.clear();
            }
            Report::Lapsed => {
                warn!(link, "uplink's lease has lapsed");
                active.lease = None;
                active.applied = false;
                active.problem = Some("the lease has lapsed".to_owned());
                self.inherited.clear();
            }
            // It says nothing of a lease that the link may have: that lasts for
            // its time and no longer.
            Report::Problem(problem) => {
                warn!(link, problem, "uplink has no lease yet");
                active.problem = Some(problem);
            }
        }
    }

    async fn publish(&mut self) {
        let mut status = UplinkStatus {
            dns: self.config.uplink.dns.clone(),
            ..UplinkStatus::default()
        };
        let mut problems: Vec<String> = self.problem.iter().cloned().collect();
        for active in self.active.values() {
            let name = &active.link.name;
            status.links.push(name.clone());
            // What the kernel has, not what should be.
            let addresses = self.links.addresses(&active.link).await.unwrap_or_default();
            status
                .addresses
                .extend(addresses.iter().map(|(address, _)| *address));
            if let Some(lease) = active.lease.as_ref().filter(|_| active.applied) {
                status.gateway = status.gateway.or(lease.gateway);
                for server in &lease.dns {
                    if self.config.uplink.dns.is_empty() && !status.dns.contains(server) {
                        status.dns.push(*server);
                    }
                }
            }
            if !active.link.carrier {
                problems.push(format!("link {name} has no carrier: is it plugged in?"));
            } else if let Some(problem) = &active.problem {
                problems.push(format!("link {name}: {problem}"));
            }
        }
        if status.dns.is_empty() {
            status.dns.clone_from(&self.inherited);
        }
        status.problem = (!problems.is_empty()).then(|| problems.join("; "));
        if let Err(error) = self.write_resolv_conf(&status.dns) {
            warn!(%error, "name servers are not recorded");
        }
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }

    fn write_resolv_conf(&mut self, dns: &[IpAddr]) -> Result<()> {
        let text = resolv::render(dns);
        if self.resolv_conf.as_ref() != Some(&text) {
            resolv::write(&self.config.resolv_conf, &text)?;
            self.resolv_conf = Some(text);
        }
        Ok(())
    }
}

impl Active {
    /// Lets go of a lease whose time is over, as the kernel has of its address.
    fn expire(&mut self) {
        let age = self.leased_at.elapsed();
        if self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.left(age).is_none())
        {
            warn!(link = %self.link.name, "uplink's lease has run out");
            self.lease = None;
            self.applied = false;
            self.problem
                .get_or_insert("the lease has run out".to_owned());
        }
    }

    fn stop_client(&mut self) {
        if let Some(client) = self.client.take() {
            client.abort();
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.stop_client();
    }
}

impl Lease {
    /// What is left of it at that age; none once its time is over.
    fn left(&self, age: Duration) -> Option<Lease> {
        let lifetime_s = match self.lifetime_s {
            // All ones: for ever (RFC 2131, 3.3).
            None | Some(u32::MAX) => self.lifetime_s,
            Some(lifetime_s) => {
                let age_s = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
                Some(lifetime_s.checked_sub(age_s).filter(|left| *left > 0)?)
            }
        };
        Some(Lease {
            lifetime_s,
            ..self.clone()
        })
    }
}

/// A configured address, as a lease that does not end. Its name servers are
/// those of the configuration.
fn configured(address: Cidr, gateway: Option<Ipv4Addr>) -> Lease {
    Lease {
        address: (address.address, address.prefix_len),
        gateway,
        routes: Vec::new(),
        dns: Vec::new(),
        lifetime_s: None,
    }
}

/// Puts the lease on the link: the new address first, so that there is always
/// one, then away with others, then the routes.
async fn apply(links: &Links, active: &mut Active, metric: u32) -> Result<()> {
    let age = active.leased_at.elapsed();
    let Some(lease) = active.lease.as_ref().and_then(|lease| lease.left(age)) else {
        return Ok(());
    };
    let link = &active.link;
    links
        .add_address(link, lease.address, lease.lifetime_s)
        .await?;
    links.keep_addresses(link, &[lease.address]).await?;
    let default = lease
        .gateway
        .map(|gateway| (Ipv4Addr::UNSPECIFIED, 0, Some(gateway)));
    let routes: Vec<Route> = lease
        .routes
        .iter()
        .copied()
        .chain(default)
        .map(|(address, prefix, gateway)| Route {
            destination: (address, prefix),
            gateway,
        })
        .collect();
    let protocol = match lease.lifetime_s {
        Some(_) => RouteProtocol::Dhcp,
        None => RouteProtocol::Static,
    };
    links.set_routes(link, &routes, protocol, metric).await?;
    active.applied = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_what_is_left_of_its_time() {
        let configured = configured(
            Cidr {
                address: Ipv4Addr::new(192, 0, 2, 7),
                prefix_len: 24,
            },
            None,
        );
        let left = |lifetime_s: Option<u32>, age_ms: u64| {
            let lease = Lease {
                lifetime_s,
                ..configured.clone()
            };
            let left = lease.left(Duration::from_millis(age_ms));
            left.map(|left| left.lifetime_s)
        };
        assert_eq!(left(None, u64::MAX), Some(None));
        assert_eq!(left(Some(u32::MAX), u64::MAX), Some(Some(u32::MAX)));
        assert_eq!(left(Some(120), 0), Some(Some(120)));
        assert_eq!(left(Some(120), 61_000), Some(Some(59)));
        assert_eq!(left(Some(120), 120_000), None);
        assert_eq!(left(Some(120), u64::MAX), None);
    }
}
