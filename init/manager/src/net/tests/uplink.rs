//! Uplinks that come late, go, and get their addresses by DHCP.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{HOST, NEIGHBOUR, PATIENCE, World, in_world};
use crate::skipped::skipped;
use orlop_unit::Addressing;

use crate::net::{Network, UplinkStatus};

pub(super) async fn until(network: &Network, what: &str, holds: impl Fn(&UplinkStatus) -> bool) {
    let mut status = network.uplink();
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(holds)).await;
    if waited.is_err() {
        panic!("{what}: {:?}", *network.uplink().borrow());
    }
}

#[test]
fn a_static_uplink_comes_late_and_comes_back() {
    in_world(async |world: World| {
        world.host.command("ip link set up0 name other0");
        let network =
            Network::begin_with(world.settings(), Some(7470), &world.state_dir()).unwrap();
        until(&network, "no link", |status| {
            let problem = status.problem.as_deref().unwrap_or_default();
            problem.contains("no link matches network.uplink.interface = \"up*\"")
        })
        .await;
        world.host.command("ip link set other0 name up0");
        until(&network, "the link came", |status| {
            status.addresses == [HOST] && status.problem.is_none()
        })
        .await;
        assert_eq!(network.uplink().borrow().gateway, Some(NEIGHBOUR));
        let resolv = std::fs::read_to_string(world.directory.path().join("resolv.conf")).unwrap();
        assert!(
            resolv.contains(&format!("nameserver {NEIGHBOUR}\n")),
            "{resolv}"
        );

        world.host.command("ip link set up0 down");
        world.neighbour.listen(9000).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let routes = world.host.command("ip route");
            if routes.contains("default via 192.0.2.2 dev up0") {
                break;
            }
            assert!(Instant::now() < deadline, "not set up again: {routes}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        world.neighbour.command("ip link set n0 down");
        until(&network, "unplugged", |status| {
            status
                .problem
                .as_deref()
                .is_some_and(|problem| problem.contains("no carrier"))
        })
        .await;
        world.neighbour.command("ip link set n0 up");
        until(&network, "plugged in", |status| status.problem.is_none()).await;
        assert!(world.host.connect(NEIGHBOUR, 9000).await.is_ok());
    });
}

/// Debian's dnsmasq as DHCP server on the neighbour.
struct Dnsmasq(Child);

impl Dnsmasq {
    fn start(world: &World, first: &str) -> Option<Dnsmasq> {
        let pid = world.neighbour.pid().as_raw_nonzero().to_string();
        let leases = world.directory.path().join("dnsmasq.leases");
        let child = Command::new("nsenter")
            .args([
                "--net",
                "--target",
                &pid,
                "dnsmasq",
                "--no-daemon",
                "--port=0",
            ])
            .args([
                "--conf-file=/dev/null",
                "--interface=n0",
                "--bind-interfaces",
            ])
            .args(["--user=root", "--dhcp-authoritative", "--dhcp-broadcast"])
            .arg(format!(
                "--pid-file={}/dnsmasq.pid",
                world.directory.path().display()
            ))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!("--dhcp-range={first},{first},255.255.255.0,2m"))
            .arg(format!("--dhcp-option=option:router,{NEIGHBOUR}"))
            .arg("--dhcp-option=option:dns-server,192.0.2.53,192.0.2.54")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.ok().map(Dnsmasq)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dhcp_uplink() {
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        return skipped("it needs the command dnsmasq");
    }
    in_world(async |world: World| {
        let settings = world.settings_with(Addressing::Dhcp, Vec::new());
        let network = Network::begin_with(settings, Some(7470), &world.state_dir()).unwrap();
        until(&network, "nobody answers", |status| {
            let problem = status.problem.as_deref().unwrap_or_default();
            problem.contains("waiting for a DHCP server")
        })
        .await;
        let server = Dnsmasq::start(&world, "192.0.2.77").unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 77);
        until(&network, "a lease", |status| status.addresses == [address]).await;
        let status = network.uplink().borrow().clone();
        assert_eq!(status.gateway, Some(NEIGHBOUR));
        assert_eq!(
            status.dns,
            [IpAddr::from([192, 0, 2, 53]), IpAddr::from([192, 0, 2, 54])]
        );
        assert_eq!(
            (status.links, status.problem),
            (vec!["up0".to_owned()], None)
        );
        let routes = world.host.command("ip route");
        assert!(
            routes.contains("default via 192.0.2.2 dev up0 proto dhcp"),
            "{routes}"
        );
        let addresses = world.host.command("ip -4 address show dev up0");
        assert!(
            !addresses.contains("valid_lft forever"),
            "a lease ends: {addresses}"
        );

        // A new manager, which hears no server at first.
        drop(network);
        drop(server);
        let settings = world.settings_with(Addressing::Dhcp, Vec::new());
        let network = Network::begin_with(settings, Some(7470), &world.state_dir()).unwrap();
        until(&network, "the link", |status| !status.links.is_empty()).await;
        let status = network.uplink().borrow().clone();
        assert_eq!(status.addresses, [address], "it has its time");
        assert_eq!(status.dns.len(), 2, "names are asked for meanwhile");
        let server = Dnsmasq::start(&world, "192.0.2.77").unwrap();
        until(&network, "a lease again", |status| {
            status.gateway == Some(NEIGHBOUR) && status.dns.len() == 2
        })
        .await;

        // Unplugged, and plugged in where there are other addresses.
        world.neighbour.command("ip link set n0 down");
        until(&network, "unplugged", |status| status.problem.is_some()).await;
        drop(server);
        world.neighbour.command("ip link set n0 up");
        let leases = world.directory.path().join("dnsmasq.leases");
        std::fs::remove_file(leases).unwrap();
        let _server = Dnsmasq::start(&world, "192.0.2.99").unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 99);
        until(&network, "another lease", |status| {
            status.addresses == [address]
        })
        .await;
        assert_eq!(network.uplink().borrow().problem, None);
    });
}
