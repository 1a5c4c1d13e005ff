//! Who reaches whom.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::world::{HOST, NEIGHBOUR, PATIENCE, Spot, THIRD, World, in_world};
use crate::skipped::skipped;
use orlop_unit::{PortMap, Protocol};

use crate::net::{NetError, Network};

fn tcp(host: u16, container: u16) -> PortMap {
    PortMap {
        host_ip: None,
        host,
        container,
        protocol: Protocol::Tcp,
    }
}

async fn publishing(network: &Network, unit: &str, ports: &[PortMap]) -> (Spot, Ipv4Addr) {
    let container = Spot::container();
    let address = network.reserve(unit).unwrap();
    network.attach(unit, container.pid(), ports).await.unwrap();
    (container, address)
}

/// nft's names for what a rule has as a number, and what it leaves out because
/// another condition implies it.
fn as_listed(rule: &str) -> String {
    let mut text = rule.to_owned();
    for (ours, theirs) in [
        ("icmp type 8", "icmp type echo-request"),
        ("icmpv6 type 128", "icmpv6 type echo-request"),
        ("icmpv6 type 134", "icmpv6 type nd-router-advert"),
        ("icmpv6 type 135", "icmpv6 type nd-neighbor-solicit"),
        ("icmpv6 type 136", "icmpv6 type nd-neighbor-advert"),
        ("meta l4proto tcp th ", "tcp "),
        (
            "meta l4proto udp th sport 67 th dport 68",
            "udp sport 67 udp dport 68",
        ),
        ("meta l4proto udp th ", "udp "),
        ("meta l4proto icmp ", ""),
        ("meta l4proto ipv6-icmp ", ""),
    ] {
        text = text.replace(ours, theirs);
    }
    let implied = ["ip saddr", "ip daddr", "icmp type"]
        .iter()
        .any(|part| text.contains(part));
    if implied {
        text = text.replace("meta nfproto ipv4 ", "");
    }
    if text.contains("icmpv6") || text.contains("ip6 ") {
        text = text.replace("meta nfproto ipv6 ", "");
    }
    text
}

#[test]
fn nft_lists_the_rules_as_they_are_meant() {
    in_world(async |world: World| {
        if std::process::Command::new("nft")
            .arg("--version")
            .output()
            .is_err()
        {
            return skipped("it needs the command nft");
        }
        let state = crate::net::nft::rules_table::state();
        let rules = crate::net::nft::ruleset(&state);
        // Twice: the second replaces the first.
        for _ in 0..2 {
            crate::net::nft::replace(&rules).unwrap();
        }
        let listed = world.host.command("nft list ruleset");
        let mut chain = "";
        let mut found = Vec::new();
        for line in listed.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                chain = name.trim_end_matches(" {");
            } else if !line.is_empty() && !line.starts_with("type ") && line != "}" {
                found.push(format!("{chain}: {line}"));
            }
        }
        found.retain(|line| !line.contains("table inet"));
        let mut expected: Vec<String> = rules
            .iter()
            .map(|rule| as_listed(&rule.to_string()))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{listed}");
        assert_eq!(listed.matches("policy drop").count(), 2, "{listed}");
    });
}

#[test]
fn as_many_published_ports_as_there_may_be() {
    in_world(async |world: World| {
        let network = world.network().await;
        let ports: Vec<PortMap> = (0..512).map(|n| tcp(10_000 + n, 80)).collect();
        let (many, _) = publishing(&network, "many", &ports).await;
        many.listen(80).await;
        assert!(world.neighbour.connect(HOST, 10_511).await.is_ok());
        let one = Spot::container();
        network.reserve("one").unwrap();
        let error = network
            .attach("one", one.pid(), &[tcp(80, 80)])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("513 published ports"), "{error}");
    });
}

#[test]
fn containers_reach_out_and_each_other() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (a, a_address) = world.attached(&network, "a").await;
        let (b, b_address) = world.attached(&network, "b").await;
        world.neighbour.listen(9000).await;
        b.listen(9000).await;
        assert_eq!(
            a.connect(NEIGHBOUR, 9000).await.unwrap(),
            HOST.to_string(),
            "masqueraded"
        );
        assert_eq!(
            a.connect(b_address, 9000).await.unwrap(),
            a_address.to_string()
        );
        // Traffic between containers needs no help of the host's addresses.
        assert_eq!(
            b.connect(b_address, 9000).await.unwrap(),
            b_address.to_string()
        );
    });
}

#[test]
fn published_ports_answer_everywhere() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (web, _) = publishing(&network, "web", &[tcp(80, 8000)]).await;
        let (other, _) = world.attached(&network, "other").await;
        web.listen(8000).await;
        let seen = world.neighbour.connect(HOST, 80).await.unwrap();
        assert_eq!(seen, NEIGHBOUR.to_string(), "the client's address is kept");
        let gateway = network.gateway().to_string();
        assert_eq!(
            other.connect(HOST, 80).await.unwrap(),
            gateway,
            "from a container"
        );
        assert_eq!(
            web.connect(HOST, 80).await.unwrap(),
            gateway,
            "from the same container"
        );
        assert_eq!(
            world.host.connect(HOST, 80).await.unwrap(),
            gateway,
            "from the host"
        );
        assert!(
            world.neighbour.cut_off(HOST, 8000).await,
            "only what is published"
        );

        network.detach("web").await.unwrap();
        assert!(
            world.neighbour.cut_off(HOST, 80).await,
            "no longer published"
        );
        network.detach("web").await.unwrap();
    });
}

#[test]
fn a_neighbour_cannot_route_to_containers() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (web, address) = publishing(&network, "web", &[tcp(80, 8000)]).await;
        web.listen(8000).await;
        world.host.listen(7470).await;
        world
            .neighbour
            .command(&format!("ip route add 10.89.0.0/16 via {HOST}"));
        assert!(world.neighbour.cut_off(address, 8000).await, "a container");
        // Not even the published port, by the address behind it.
        assert!(world.neighbour.cut_off(address, 80).await);
        assert!(world.neighbour.cut_off(network.gateway(), 80).await);
        assert!(
            world.neighbour.cut_off(network.gateway(), 7470).await,
            "the bridge"
        );
        let query = super::links::query("web");
        let server = (network.gateway(), 53);
        assert!(
            world.neighbour.unanswered(server, query).await,
            "the bridge's name server"
        );
        assert!(
            world.neighbour.connect(HOST, 80).await.is_ok(),
            "the route itself works"
        );
    });
}

#[test]
fn a_neighbour_cannot_pretend_to_be_a_container() {
    in_world(async |world: World| {
        let network = world.network().await;
        let port = PortMap {
            protocol: Protocol::Udp,
            ..tcp(5000, 5000)
        };
        let (server, _) = publishing(&network, "server", &[port]).await;
        let heard = server.hear(5000).await;
        world
            .neighbour
            .command("ip address add 10.89.0.50/32 dev lo");
        let forged = Ipv4Addr::new(10, 89, 0, 50);
        for (from, bytes) in [(forged, "forged"), (NEIGHBOUR, "honest")] {
            let sent = world.neighbour.run(move || {
                let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(bytes.as_bytes(), (HOST, 5000)).unwrap()
            });
            assert_eq!(sent.await, 6);
        }
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"honest");
    });
}

#[test]
fn the_host_is_nobodys_router_but_the_containers() {
    in_world(async |world: World| {
        let _network = world.network().await;
        let third = world.beyond();
        third.listen(9000).await;
        assert!(world.host.connect(THIRD, 9000).await.is_ok(), "it is there");
        world
            .neighbour
            .command(&format!("ip route add {THIRD} via {HOST}"));
        assert!(
            world.neighbour.cut_off(THIRD, 9000).await,
            "not through the host"
        );
    });
}

#[test]
fn the_host_listens_to_nobody_but_for_its_api() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (a, _) = world.attached(&network, "a").await;
        for port in [7470, 7471, 9999] {
            world.host.listen(port).await;
        }
        assert!(world.neighbour.cut_off(HOST, 9999).await, "not the API");
        assert!(world.neighbour.connect(HOST, 7470).await.is_ok(), "the API");
        for address in [HOST, network.gateway()] {
            for port in [7470, 9999] {
                assert!(a.cut_off(address, port).await, "{address}:{port}");
            }
        }
        world
            .neighbour
            .ping(HOST)
            .await
            .expect("from the neighbour");
        a.ping(network.gateway()).await.expect("from the container");

        network.set_api_port(Some(7471)).await.unwrap();
        assert!(world.neighbour.cut_off(HOST, 7470).await);
        assert!(world.neighbour.connect(HOST, 7471).await.is_ok());
        network.set_api_port(None).await.unwrap();
        assert!(world.neighbour.cut_off(HOST, 7471).await);
    });
}

#[test]
fn ports_have_one_owner() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (_web, _) = publishing(&network, "web", &[tcp(80, 8000)]).await;
        world.host.listen(8080).await;
        let other = Spot::container();
        network.reserve("other").unwrap();
        for (port, words) in [
            (80, "unit web publishes it"),
            (8080, "something on the host listens on it"),
            (7470, "it is the API's"),
        ] {
            let result = network.attach("other", other.pid(), &[tcp(port, 80)]).await;
            let error = result.unwrap_err();
            assert!(matches!(error, NetError::PortTaken { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let inside = other.command("ip -o link");
        assert!(!inside.contains("eth0"), "nothing is left behind: {inside}");
        // The name server has it on the bridge alone.
        let _names = publishing(&network, "names", &[tcp(53, 5353)]).await;
        let unknown = network
            .attach("nobody", other.pid(), &[])
            .await
            .unwrap_err();
        assert!(matches!(unknown, NetError::NotReserved(_)), "{unknown}");
    });
}

#[test]
fn a_new_manager_finds_all_in_place() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (web, address) = publishing(&network, "web", &[tcp(80, 8000)]).await;
        let (dead, _) = publishing(&network, "dead", &[tcp(81, 8000)]).await;
        web.listen(8000).await;
        drop(network);
        let link = crate::net::wiring::veth("dead");
        drop(dead);
        // The kernel takes its time to remove a network namespace.
        let deadline = Instant::now() + PATIENCE;
        while world.host.command("ip -o link").contains(&link) {
            assert!(Instant::now() < deadline, "the dead container's link stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            world.neighbour.connect(HOST, 80).await.is_ok(),
            "while no manager runs"
        );

        let network = world.network().await;
        assert!(
            world.neighbour.connect(HOST, 80).await.is_ok(),
            "before it is taken over"
        );
        assert_eq!(network.reserve("web").unwrap(), address);
        let before = web.command("ip -o link show eth0");
        network
            .adopt("web", web.pid(), &[tcp(80, 8000)])
            .await
            .unwrap();
        assert_eq!(
            web.command("ip -o link show eth0"),
            before,
            "the link is untouched"
        );
        assert!(
            world.neighbour.connect(HOST, 80).await.is_ok(),
            "taken over"
        );
        let rules = world.host.command("nft list ruleset");
        assert!(
            !rules.contains("dport 81"),
            "the dead are not published: {rules}"
        );

        // A container whose link was never made, or was lost.
        world
            .host
            .command(&format!("ip link del {}", crate::net::wiring::veth("web")));
        network
            .adopt("web", web.pid(), &[tcp(80, 8000)])
            .await
            .unwrap();
        assert!(world.neighbour.connect(HOST, 80).await.is_ok(), "mended");
    });
}
