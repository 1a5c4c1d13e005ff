//! The packet filter's vocabulary: just the matches and verdicts it needs.
//!
//! `Display` writes nft's own syntax, so that a rule reads the same here, in a
//! test's table and in the output of `nft list ruleset`.

use std::fmt;
use std::net::SocketAddrV4;

use orlop_unit::Cidr;
use serde::{Deserialize, Serialize};

/// A chain of the table `orlop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chain {
    /// Before connection tracking: forged and misrouted packets end here.
    Guard,
    /// Destination translation of what arrives.
    Prerouting,
    /// Destination translation of what the host itself sends.
    Output,
    /// Source translation.
    Postrouting,
    /// The published ports; `prerouting` and `output` jump here.
    Published,
    /// What is for the host itself.
    Input,
    /// What passes through.
    Forward,
}

impl Chain {
    /// Every chain, in the order in which they are made: a chain that is
    /// jumped to comes before those that jump.
    pub(crate) const ALL: [Chain; 7] = [
        Chain::Guard,
        Chain::Published,
        Chain::Prerouting,
        Chain::Output,
        Chain::Postrouting,
        Chain::Input,
        Chain::Forward,
    ];

    /// The chain's name in the kernel.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Chain::Guard => "guard",
            Chain::Prerouting => "prerouting",
            Chain::Output => "output",
            Chain::Postrouting => "postrouting",
            Chain::Published => "published",
            Chain::Input => "input",
            Chain::Forward => "forward",
        }
    }
}

/// A transport protocol, by its IP number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proto {
    /// ICMP for IPv4.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv6.
    Icmp6,
}

impl Proto {
    /// The protocol's number in an IP header (IANA protocol numbers).
    pub(crate) fn number(self) -> u8 {
        match self {
            Proto::Icmp => 1,
            Proto::Tcp => 6,
            Proto::Udp => 17,
            Proto::Icmp6 => 58,
        }
    }
}

/// One condition of a rule; a rule applies when all of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// The packet came in by the link.
    In {
        /// The link's name.
        link: String,
        /// By any other link, that is.
        not: bool,
    },
    /// The packet goes out by the link.
    Out {
        /// The link's name.
        link: String,
        /// By any other link, that is.
        not: bool,
    },
    /// The packet is IPv4.
    Ipv4,
    /// The packet is IPv6.
    Ipv6,
    /// The transport protocol.
    Proto(Proto),
    /// The IPv4 source lies in the network.
    From {
        /// The network.
        net: Cidr,
        /// Outside the network, that is.
        not: bool,
    },
    /// The IPv4 destination lies in the network.
    To {
        /// The network.
        net: Cidr,
        /// Outside the network, that is.
        not: bool,
    },
    /// The source is an address of this host.
    FromLocal,
    /// The destination is an address of this host.
    ToLocal,
    /// The source port of TCP or UDP.
    SourcePort(u16),
    /// The destination port of TCP or UDP.
    Port(u16),
    /// The type of an ICMP message.
    IcmpType {
        /// Of ICMPv6.
        v6: bool,
        /// The type's number.
        kind: u8,
    },
    /// The IPv6 hop limit: 255 only for packets that no router has passed on.
    HopLimit(u8),
    /// The connection is known, or related to one that is.
    Established,
    /// Connection tracking makes no sense of the packet.
    Invalid,
    /// The connection's destination was translated, so it is for a published
    /// port.
    Translated,
}

/// What a rule does with a packet that it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it pass this chain.
    Accept,
    /// Drop it.
    Drop,
    /// Look it up in another chain, then go on here.
    Jump(Chain),
    /// Translate its destination.
    Dnat(SocketAddrV4),
    /// Translate its source to the outgoing link's address.
    Masquerade,
}

/// A rule, the chain it is in, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The chain it is appended to.
    pub(crate) chain: Chain,
    /// Its conditions.
    pub(crate) matches: Vec<Match>,
    /// Its effect.
    pub(crate) verdict: Verdict,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proto::Icmp => "icmp",
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Icmp6 => "ipv6-icmp",
        })
    }
}

/// As nft writes it: a single address without its length.
struct Listed(Cidr);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len == 32 {
            write!(f, "{}", self.0.address)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

fn unless(not: bool) -> &'static str {
    if not { "!= " } else { "" }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::In { link, not } => write!(f, "iifname {}\"{link}\"", unless(*not)),
            Match::Out { link, not } => write!(f, "oifname {}\"{link}\"", unless(*not)),
            Match::Ipv4 => f.write_str("meta nfproto ipv4"),
            Match::Ipv6 => f.write_str("meta nfproto ipv6"),
            Match::Proto(proto) => write!(f, "meta l4proto {proto}"),
            Match::From { net, not } => write!(f, "ip saddr {}{}", unless(*not), Listed(*net)),
            Match::To { net, not } => write!(f, "ip daddr {}{}", unless(*not), Listed(*net)),
            Match::FromLocal => f.write_str("fib saddr type local"),
            Match::ToLocal => f.write_str("fib daddr type local"),
            Match::SourcePort(port) => write!(f, "th sport {port}"),
            Match::Port(port) => write!(f, "th dport {port}"),
            Match::IcmpType { v6: false, kind } => write!(f, "icmp type {kind}"),
            Match::IcmpType { v6: true, kind } => write!(f, "icmpv6 type {kind}"),
            Match::HopLimit(hops) => write!(f, "ip6 hoplimit {hops}"),
            Match::Established => f.write_str("ct state established,related"),
            Match::Invalid => f.write_str("ct state invalid"),
            Match::Translated => f.write_str("ct status dnat"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Jump(chain) => write!(f, "jump {}", chain.name()),
            Verdict::Dnat(to) => write!(f, "dnat ip to {to}"),
            Verdict::Masquerade => f.write_str("masquerade"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.chain.name())?;
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        write!(f, "{}", self.verdict)
    }
}
