//! A DHCP client for one link.
//!
//! The protocol is mozim's. What is added: a client that gets no lease starts
//! over (a server that refuses a request is otherwise asked again for ever),
//! leases that cannot work are refused, and pauses grow to a bound.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use orlop_unit::Cidr;
use tokio::sync::mpsc;

use super::super::links::Link;
use super::{Lease, Report};

/// How long an attempt may go without a lease: mozim asks three times within.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The pause after a failed attempt, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The most name servers and routes that are taken from a lease.
const SERVERS_MAX: usize = 8;
const ROUTES_MAX: usize = 64;

/// A link's client.
pub(super) struct Client {
    link: Link,
    hostname: String,
    subnet: Cidr,
}

impl Client {
    pub(super) fn new(link: &Link, hostname: &str, subnet: Cidr) -> Client {
        Client {
            link: link.clone(),
            hostname: hostname.to_owned(),
            subnet,
        }
    }

    /// Gets and renews leases until it is aborted or nobody listens.
    pub(super) async fn run(self, reports: mpsc::Sender<(u32, Report)>) {
        wait_for_randomness().await;
        let mut pause = PAUSE.0;
        loop {
            let mut leased = false;
            let problem = match self.attempt(&reports, &mut leased).await {
                Ok(()) => return,
                Err(problem) => problem,
            };
            if leased {
                pause = PAUSE.0;
            }
            let report = Report::Problem(problem);
            if reports.send((self.link.index, report)).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// One client from its first question on. Ends well only when nobody
    /// listens any more.
    async fn attempt(
        &self,
        reports: &mpsc::Sender<(u32, Report)>,
        leased: &mut bool,
    ) -> Result<(), String> {
        let mut client = DhcpV4Client::init(self.config()?, None)
            .await
            .map_err(text)?;
        let mut holds = false;
        loop {
            let step = client.run();
            let state = if holds {
                step.await.map_err(text)?
            } else {
                let none = |_| "no DHCP server answers; still asking".to_owned();
                tokio::time::timeout(ATTEMPT, step)
                    .await
                    .map_err(none)?
                    .map_err(text)?
            };
            let report = match state {
                DhcpV4State::Done(lease) => {
                    holds = true;
                    *leased = true;
                    Some(Report::Leased(read(&lease, self.subnet)?))
                }
                DhcpV4State::InitReboot if holds => {
                    holds = false;
                    Some(Report::Lapsed)
                }
                DhcpV4State::InitReboot
                | DhcpV4State::Selecting
                | DhcpV4State::Renewing
                | DhcpV4State::Rebinding => None,
            };
            if let Some(report) = report
                && reports.send((self.link.index, report)).await.is_err()
            {
                return Ok(());
            }
        }
    }

    fn config(&self) -> Result<DhcpV4Config, String> {
        let mut config = DhcpV4Config::new(&self.link.name);
        config.set_iface_index(self.link.index);
        config.set_iface_mac_raw(&self.link.mac).map_err(text)?;
        config.set_host_name(&self.hostname);
        config.use_mac_as_client_id();
        Ok(config)
    }
}

/// Waits, on a thread of its own, until the kernel has random numbers: mozim
/// asks for some on the spot, and a statically linked program may do so by
/// /dev/random. That would hold up the whole manager early in the boot of a
/// machine without a source, where only the system call makes the kernel find
/// some by itself, within a second.
async fn wait_for_randomness() {
    let wait = || rustix::rand::getrandom(&mut [0u8; 1], rustix::rand::GetRandomFlags::empty());
    if let Ok(Err(error)) = tokio::task::spawn_blocking(wait).await {
        tracing::warn!(%error, "no random numbers");
    }
}

fn text(error: mozim::DhcpError) -> String {
    format!("DHCP: {error}")
}

/// The parts of a lease that matter, if they make sense.
fn read(lease: &DhcpV4Lease, subnet: Cidr) -> Result<Lease, String> {
    let prefix = prefix_length(lease.subnet_mask).ok_or_else(|| {
        format!(
            "the DHCP server gave the impossible mask {}",
            lease.subnet_mask
        )
    })?;
    let address = lease.yiaddr;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!(
            "the DHCP server gave the impossible address {address}"
        ));
    }
    let given = Cidr {
        address,
        prefix_len: prefix,
    };
    if given.overlaps(subnet) {
        return Err(format!(
            "the DHCP server gave {given}, which overlaps the containers' network {subnet}; set \
             another network.bridge.subnet"
        ));
    }
    let routes = lease
        .classless_routes
        .iter()
        .flatten()
        .take(ROUTES_MAX)
        .map(|route| {
            let gateway = (!route.router.is_unspecified()).then_some(route.router);
            (route.destination, route.prefix_length, gateway)
        });
    let routes: Vec<(Ipv4Addr, u8, Option<Ipv4Addr>)> = routes.collect();
    let (defaults, routes): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|(_, prefix, _)| *prefix == 0);
    // With classless routes, the router option does not count (RFC 3442).
    let gateway = if lease.classless_routes.is_some() {
        defaults.first().and_then(|(_, _, gateway)| *gateway)
    } else {
        lease.gateways.iter().flatten().next().copied()
    };
    Ok(Lease {
        address: (address, prefix),
        gateway,
        routes,
        dns: lease
            .dns_srvs
            .iter()
            .flatten()
            .take(SERVERS_MAX)
            .map(|server| IpAddr::V4(*server))
            .collect(),
        lifetime_s: Some(lease.lease_time_sec),
    })
}

/// The prefix length of a contiguous mask; a lease without a mask is for a
/// single address.
fn prefix_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    let contiguous = bits.count_ones() == ones;
    let ones = if bits == 0 { 32 } else { ones };
    u8::try_from(ones).ok().filter(|_| contiguous)
}

#[cfg(test)]
mod tests {
    use mozim::DhcpV4ClasslessRoute;

    use super::*;

    const SUBNET: Cidr = Cidr {
        address: Ipv4Addr::new(10, 89, 0, 0),
        prefix_len: 16,
    };

    fn lease(address: [u8; 4], mask: [u8; 4]) -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = address.into();
        lease.subnet_mask = mask.into();
        lease.lease_time_sec = 600;
        lease.gateways = Some(vec![Ipv4Addr::new(192, 0, 2, 1)]);
        lease.dns_srvs = Some(vec![Ipv4Addr::new(192, 0, 2, 53); 20]);
        lease
    }

    #[test]
    fn leases_are_read_and_checked() {
        let cases = [
            ([192, 0, 2, 9], [255, 255, 255, 0], Ok(24)),
            ([192, 0, 2, 9], [0, 0, 0, 0], Ok(32)),
            (
                [192, 0, 2, 9],
                [255, 0, 255, 0],
                Err("impossible mask 255.0.255.0"),
            ),
            (
                [0, 0, 0, 0],
                [255, 255, 255, 0],
                Err("impossible address 0.0.0.0"),
            ),
            (
                [127, 0, 0, 9],
                [255, 255, 255, 0],
                Err("impossible address"),
            ),
            (
                [10, 89, 3, 9],
                [255, 255, 255, 0],
                Err("set another network.bridge.subnet"),
            ),
            (
                [10, 1, 3, 9],
                [255, 0, 0, 0],
                Err("overlaps the containers' network 10.89.0.0/16"),
            ),
        ];
        for (address, mask, expected) in cases {
            match (read(&lease(address, mask), SUBNET), expected) {
                (Ok(read), Ok(prefix)) => {
                    assert_eq!(read.address, (address.into(), prefix));
                    assert_eq!(read.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
                    assert_eq!(read.dns.len(), SERVERS_MAX);
                    assert_eq!(read.lifetime_s, Some(600));
                }
                (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
                (got, expected) => panic!("{address:?}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn classless_routes_replace_the_router() {
        let mut lease = lease([192, 0, 2, 9], [255, 255, 255, 0]);
        let route = |destination: [u8; 4], prefix_length, router: [u8; 4]| DhcpV4ClasslessRoute {
            destination: destination.into(),
            prefix_length,
            router: router.into(),
        };
        lease.classless_routes = Some(vec![
            route([198, 51, 100, 0], 24, [192, 0, 2, 2]),
            route([203, 0, 113, 0], 24, [0, 0, 0, 0]),
            route([0, 0, 0, 0], 0, [192, 0, 2, 3]),
        ]);
        let read = read(&lease, SUBNET).unwrap();
        assert_eq!(read.gateway, Some(Ipv4Addr::new(192, 0, 2, 3)));
        let second = Some(Ipv4Addr::new(192, 0, 2, 2));
        let expected = vec![
            ([198, 51, 100, 0].into(), 24, second),
            ([203, 0, 113, 0].into(), 24, None),
        ];
        assert_eq!(read.routes, expected);
    }
}
