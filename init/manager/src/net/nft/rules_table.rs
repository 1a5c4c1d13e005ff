//! The rules as a reader of `nft list ruleset` sees them.

use std::net::{Ipv4Addr, SocketAddrV4};

use orlop_unit::Cidr;
use proptest::prelude::*;

use super::model::{Chain, Proto, Rule, Verdict};
use super::rules::{PortForward, State, ruleset};

pub(crate) fn state() -> State {
    let to = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 89, 0, last), port);
    State {
        bridge: "orlop0".to_owned(),
        subnet: Cidr {
            address: Ipv4Addr::new(10, 89, 0, 0),
            prefix_len: 16,
        },
        gateway: Ipv4Addr::new(10, 89, 0, 1),
        api_port: Some(7470),
        forwards: vec![
            PortForward {
                proto: Proto::Tcp,
                host_ip: None,
                host_port: 80,
                to: to(2, 8000),
            },
            PortForward {
                proto: Proto::Udp,
                host_ip: Some(Ipv4Addr::new(192, 0, 2, 1)),
                host_port: 5353,
                to: to(3, 53),
            },
        ],
    }
}

const EXPECTED: &str = r#"
guard: iifname != "orlop0" iifname != "lo" meta nfproto ipv4 ip daddr 10.89.0.0/16 drop
guard: iifname != "orlop0" iifname != "lo" meta nfproto ipv4 ip saddr 10.89.0.0/16 drop
guard: iifname "orlop0" meta nfproto ipv4 ip saddr != 10.89.0.0/16 drop
prerouting: meta nfproto ipv4 fib daddr type local ip daddr != 10.89.0.1 ip daddr != 127.0.0.0/8 jump published
output: meta nfproto ipv4 fib daddr type local ip daddr != 10.89.0.1 ip daddr != 127.0.0.0/8 jump published
postrouting: meta nfproto ipv4 oifname != "orlop0" ip saddr 10.89.0.0/16 masquerade
postrouting: meta nfproto ipv4 oifname "orlop0" ip saddr 10.89.0.0/16 ct status dnat masquerade
postrouting: meta nfproto ipv4 oifname "orlop0" fib saddr type local ct status dnat masquerade
published: meta nfproto ipv4 meta l4proto tcp th dport 80 dnat ip to 10.89.0.2:8000
published: meta nfproto ipv4 ip daddr 192.0.2.1 meta l4proto udp th dport 5353 dnat ip to 10.89.0.3:53
input: iifname "lo" accept
input: ct state invalid drop
input: ct state established,related accept
input: iifname "orlop0" meta nfproto ipv4 ip daddr 10.89.0.1 meta l4proto udp th dport 53 accept
input: iifname "orlop0" meta nfproto ipv4 ip daddr 10.89.0.1 meta l4proto tcp th dport 53 accept
input: iifname "orlop0" meta nfproto ipv4 meta l4proto icmp icmp type 8 accept
input: iifname "orlop0" drop
input: meta nfproto ipv4 meta l4proto icmp icmp type 8 accept
input: meta nfproto ipv4 meta l4proto udp th sport 67 th dport 68 accept
input: meta nfproto ipv4 meta l4proto tcp th dport 7470 accept
input: meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type 134 ip6 hoplimit 255 accept
input: meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type 135 ip6 hoplimit 255 accept
input: meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type 136 ip6 hoplimit 255 accept
input: meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type 128 accept
forward: ct state invalid drop
forward: ct state established,related accept
forward: iifname "orlop0" oifname "orlop0" accept
forward: iifname "orlop0" oifname != "orlop0" meta nfproto ipv4 ip saddr 10.89.0.0/16 accept
forward: iifname != "orlop0" oifname "orlop0" ct status dnat accept
"#;

fn lines(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

#[test]
fn the_whole_filter() {
    let expected: Vec<&str> = EXPECTED.trim().lines().collect();
    assert_eq!(lines(&ruleset(&state())), expected);
}

#[test]
fn what_the_state_changes() {
    let all = lines(&ruleset(&state()));
    let without = lines(&ruleset(&State {
        api_port: None,
        ..state()
    }));
    let gone: Vec<&String> = all.iter().filter(|line| !without.contains(line)).collect();
    assert_eq!(
        gone,
        ["input: meta nfproto ipv4 meta l4proto tcp th dport 7470 accept"]
    );
    let without = lines(&ruleset(&State {
        forwards: Vec::new(),
        ..state()
    }));
    let gone: Vec<&String> = all.iter().filter(|line| !without.contains(line)).collect();
    assert!(
        gone.len() == 2 && gone.iter().all(|line| line.starts_with("published: ")),
        "{gone:?}"
    );
}

proptest! {
    /// Whatever is published: translations lead into the containers' network,
    /// nothing published opens the host itself, and each port is there once.
    #[test]
    fn published_ports_open_nothing_else(
        ports in prop::collection::vec((1u16.., 1u16.., 2u8..250), 0..40),
    ) {
        let forwards: Vec<PortForward> = ports
            .iter()
            .map(|(host_port, port, last)| PortForward {
                proto: Proto::Tcp,
                host_ip: None,
                host_port: *host_port,
                to: SocketAddrV4::new(Ipv4Addr::new(10, 89, 0, *last), *port),
            })
            .collect();
        let rules = ruleset(&State { forwards, ..state() });
        let none = ruleset(&State { forwards: Vec::new(), ..state() });
        let (published, others): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| rule.chain == Chain::Published);
        prop_assert_eq!(others, none);
        prop_assert_eq!(published.len(), ports.len());
        for rule in published {
            let Verdict::Dnat(to) = rule.verdict else { panic!("{rule}") };
            prop_assert!(state().subnet.contains(*to.ip()));
        }
    }
}
