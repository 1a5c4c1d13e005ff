//! What the packet filter is, as a pure function of the host's state.
//!
//! Every link that is neither the loopback nor the bridge counts as an uplink:
//! a link that appears later is behind the filter before anything names it.

use std::net::{Ipv4Addr, SocketAddrV4};

use orlop_unit::Cidr;
use serde::{Deserialize, Serialize};

use super::model::{Chain, Match, Proto, Rule, Verdict};

/// A published port: what arrives for `host` goes to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct PortForward {
    /// TCP or UDP.
    pub(crate) proto: Proto,
    /// Only this address of the host; all of them when none is given.
    pub(crate) host_ip: Option<Ipv4Addr>,
    /// The host's port.
    pub(crate) host_port: u16,
    /// The container's address and port.
    pub(crate) to: SocketAddrV4,
}

/// Everything that the filter depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The bridge's link name.
    pub(crate) bridge: String,
    /// The containers' network.
    pub(crate) subnet: Cidr,
    /// The host's address in it.
    pub(crate) gateway: Ipv4Addr,
    /// The API's TCP port, when it listens on the network.
    pub(crate) api_port: Option<u16>,
    /// The published ports.
    pub(crate) forwards: Vec<PortForward>,
}

/// ICMP echo request (RFC 792).
const ECHO: Match = Match::IcmpType { v6: false, kind: 8 };
/// ICMPv6 echo request (RFC 4443).
const ECHO6: Match = Match::IcmpType {
    v6: true,
    kind: 128,
};
/// Neighbour discovery (RFC 4861): router advertisement, neighbour
/// solicitation and advertisement. Redirects stay out.
const NEIGHBOUR_DISCOVERY: [u8; 3] = [134, 135, 136];

/// The rules of every chain, in order. Chains `input` and `forward` drop what
/// no rule accepts; the others let it pass.
pub(crate) fn ruleset(state: &State) -> Vec<Rule> {
    let mut rules = guard(state);
    rules.extend(translation(state));
    rules.extend(state.forwards.iter().map(published));
    rules.extend(input(state));
    rules.extend(forward(state));
    rules
}

fn rule(chain: Chain, matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule {
        chain,
        matches,
        verdict,
    }
}

fn from_link(link: &str) -> Match {
    Match::In {
        link: link.to_owned(),
        not: false,
    }
}

fn not_from_link(link: &str) -> Match {
    Match::In {
        link: link.to_owned(),
        not: true,
    }
}

fn host(address: Ipv4Addr) -> Cidr {
    Cidr {
        address,
        prefix_len: 32,
    }
}

/// Before any translation, a packet from outside has no business with the
/// containers' network: replies to containers come for the host's address. So
/// a neighbour that routes into the network, asks for the bridge's address or
/// claims to be a container is dropped here, and so is a container that claims
/// an address outside of that network. One that claims another container's is
/// not told apart.
fn guard(state: &State) -> Vec<Rule> {
    let outside = || {
        vec![
            not_from_link(&state.bridge),
            not_from_link("lo"),
            Match::Ipv4,
        ]
    };
    let net = state.subnet;
    let with = |mut matches: Vec<Match>, last| {
        matches.push(last);
        rule(Chain::Guard, matches, Verdict::Drop)
    };
    vec![
        with(outside(), Match::To { net, not: false }),
        with(outside(), Match::From { net, not: false }),
        with(
            vec![from_link(&state.bridge), Match::Ipv4],
            Match::From { net, not: true },
        ),
    ]
}

/// Published ports answer on every address of the host but two: the bridge's,
/// whose port 53 is the name server, and the loopback, from which a packet
/// could not reach a container without opening 127/8 to the bridge.
fn translation(state: &State) -> Vec<Rule> {
    let loopback = Cidr {
        address: Ipv4Addr::new(127, 0, 0, 0),
        prefix_len: 8,
    };
    let to_published = |chain| {
        let matches = vec![
            Match::Ipv4,
            Match::ToLocal,
            Match::To {
                net: host(state.gateway),
                not: true,
            },
            Match::To {
                net: loopback,
                not: true,
            },
        ];
        rule(chain, matches, Verdict::Jump(Chain::Published))
    };
    let from_containers = Match::From {
        net: state.subnet,
        not: false,
    };
    let out = |not| Match::Out {
        link: state.bridge.clone(),
        not,
    };
    let through_host = |from| {
        let matches = vec![Match::Ipv4, out(false), from, Match::Translated];
        rule(Chain::Postrouting, matches, Verdict::Masquerade)
    };
    vec![
        to_published(Chain::Prerouting),
        to_published(Chain::Output),
        rule(
            Chain::Postrouting,
            vec![Match::Ipv4, out(true), from_containers.clone()],
            Verdict::Masquerade,
        ),
        // A container that reaches another by a published port must get its
        // answers through the host, or they come from an unknown address; and
        // the host takes no answer that claims to come from itself.
        through_host(from_containers),
        through_host(Match::FromLocal),
    ]
}

fn published(forward: &PortForward) -> Rule {
    let mut matches = vec![Match::Ipv4];
    if let Some(address) = forward.host_ip {
        matches.push(Match::To {
            net: host(address),
            not: false,
        });
    }
    matches.push(Match::Proto(forward.proto));
    matches.push(Match::Port(forward.host_port));
    rule(Chain::Published, matches, Verdict::Dnat(forward.to))
}

fn input(state: &State) -> Vec<Rule> {
    let accept = |matches| rule(Chain::Input, matches, Verdict::Accept);
    let bridge = || from_link(&state.bridge);
    let at_gateway = || Match::To {
        net: host(state.gateway),
        not: false,
    };
    let dns = |proto| {
        vec![
            bridge(),
            Match::Ipv4,
            at_gateway(),
            Match::Proto(proto),
            Match::Port(53),
        ]
    };
    let mut rules = vec![
        accept(vec![from_link("lo")]),
        rule(Chain::Input, vec![Match::Invalid], Verdict::Drop),
        accept(vec![Match::Established]),
        accept(dns(Proto::Udp)),
        accept(dns(Proto::Tcp)),
        accept(vec![bridge(), Match::Ipv4, Match::Proto(Proto::Icmp), ECHO]),
        rule(Chain::Input, vec![bridge()], Verdict::Drop),
        // From here on: uplinks.
        accept(vec![Match::Ipv4, Match::Proto(Proto::Icmp), ECHO]),
        accept(vec![
            Match::Ipv4,
            Match::Proto(Proto::Udp),
            Match::SourcePort(67),
            Match::Port(68),
        ]),
    ];
    if let Some(port) = state.api_port {
        accept_api(&mut rules, port);
    }
    rules.extend(NEIGHBOUR_DISCOVERY.map(|kind| {
        accept(vec![
            Match::Ipv6,
            Match::Proto(Proto::Icmp6),
            Match::IcmpType { v6: true, kind },
            Match::HopLimit(255),
        ])
    }));
    rules.push(accept(vec![Match::Ipv6, Match::Proto(Proto::Icmp6), ECHO6]));
    rules
}

fn accept_api(rules: &mut Vec<Rule>, port: u16) {
    let matches = vec![Match::Ipv4, Match::Proto(Proto::Tcp), Match::Port(port)];
    rules.push(rule(Chain::Input, matches, Verdict::Accept));
}

fn forward(state: &State) -> Vec<Rule> {
    let accept = |matches| rule(Chain::Forward, matches, Verdict::Accept);
    let bridge = || from_link(&state.bridge);
    let out = |not| Match::Out {
        link: state.bridge.clone(),
        not,
    };
    vec![
        rule(Chain::Forward, vec![Match::Invalid], Verdict::Drop),
        accept(vec![Match::Established]),
        accept(vec![bridge(), out(false)]),
        accept(vec![
            bridge(),
            out(true),
            Match::Ipv4,
            Match::From {
                net: state.subnet,
                not: false,
            },
        ]),
        accept(vec![
            not_from_link(&state.bridge),
            out(false),
            Match::Translated,
        ]),
    ]
}
