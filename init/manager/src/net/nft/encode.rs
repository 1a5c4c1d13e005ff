//! Rules as nf_tables messages.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nf_tables.h` and, for
//! connection tracking, `nf_conntrack_common.h`. Values that the kernel
//! compares with packet bytes are big endian; values that it loads itself
//! (connection state, address type) are in the machine's order.

use std::net::SocketAddrV4;

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage,
};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions,
    Hook, Immediate, InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator,
    Payload, Register, RuleAttribute, RuleMessage, TableAttribute, TableMessage, Verdict as Code,
    VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use orlop_unit::Cidr;

use super::TABLE;
use super::model::{Chain, Match, Rule, Verdict};

/// `NFNL_SUBSYS_NFTABLES`, which a batch names as the subsystem it is for.
const SUBSYSTEM_NFTABLES: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// Interface names are compared whole, with their padding (`IFNAMSIZ`).
const LINK_NAME_BYTES: usize = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_STATE_INVALID: u32 = 1;
const CT_STATE_ESTABLISHED: u32 = 1 << 1;
const CT_STATE_RELATED: u32 = 1 << 2;
/// `IPS_DST_NAT`.
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 1 << 1;
const RTN_LOCAL: u32 = 2;
const NAT_DNAT: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// One message of a batch, and what it is, for the error that names it.
pub(super) struct Step {
    pub(super) message: NetlinkMessage<NetfilterMessage>,
    pub(super) what: String,
}

/// The transaction that makes `rules` the whole of our table: the table is
/// made (so that deleting it cannot fail), deleted, and made again.
pub(super) fn replace(rules: &[Rule]) -> Vec<Step> {
    let mut steps = vec![
        step("table", NfTablesMessage::NewTable(table()), NLM_F_CREATE),
        step("old table", NfTablesMessage::DeleteTable(table()), 0),
        step("table", NfTablesMessage::NewTable(table()), NLM_F_CREATE),
    ];
    for chain in Chain::ALL {
        let what = format!("chain {}", chain.name());
        let message = NfTablesMessage::NewChain(chain_message(chain));
        steps.push(step(what, message, NLM_F_CREATE));
    }
    for rule in rules {
        let message = NfTablesMessage::NewRule(rule_message(rule));
        steps.push(step(rule.to_string(), message, NLM_F_CREATE | NLM_F_APPEND));
    }
    steps
}

/// The steps as one batch: numbered from 1, the last one acknowledged.
pub(super) fn batch(steps: Vec<Step>) -> (Vec<u8>, Vec<String>) {
    let last = steps.len();
    let mut bytes = Vec::new();
    let mut names = Vec::with_capacity(last);
    let begin = control(ControlMessage::BatchBegin);
    emit(&mut bytes, begin, 0);
    for (at, mut step) in steps.into_iter().enumerate() {
        if at + 1 == last {
            step.message.header.flags |= NLM_F_ACK;
        }
        emit(&mut bytes, step.message, number(at + 1));
        names.push(step.what);
    }
    emit(
        &mut bytes,
        control(ControlMessage::BatchEnd),
        number(last + 1),
    );
    (bytes, names)
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn emit(bytes: &mut Vec<u8>, mut message: NetlinkMessage<NetfilterMessage>, sequence: u32) {
    message.header.sequence_number = sequence;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

fn control(message: ControlMessage) -> NetlinkMessage<NetfilterMessage> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
    request(header, message, 0)
}

fn step(what: impl Into<String>, message: NfTablesMessage, flags: u16) -> Step {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    Step {
        message: request(header, message, flags),
        what: what.into(),
    }
}

fn request<T: Into<NetfilterMessageInner>>(
    header: NetfilterHeader,
    inner: T,
    flags: u16,
) -> NetlinkMessage<NetfilterMessage> {
    let mut message = NetlinkMessage::from(NetfilterMessage::new(header, inner));
    message.header.flags = NLM_F_REQUEST | flags;
    message
}

fn table() -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    }
}

/// Where a base chain hooks in: type, hook, priority (nft's named priorities
/// `raw`, `dstnat`, `srcnat` and `filter`), policy.
fn base(chain: Chain) -> Option<(&'static str, InetHookNumber, i32, u32)> {
    match chain {
        Chain::Guard => Some(("filter", InetHookNumber::PreRouting, -300, NF_ACCEPT)),
        Chain::Prerouting => Some(("nat", InetHookNumber::PreRouting, -100, NF_ACCEPT)),
        Chain::Output => Some(("nat", InetHookNumber::LocalOut, -100, NF_ACCEPT)),
        Chain::Postrouting => Some(("nat", InetHookNumber::PostRouting, 100, NF_ACCEPT)),
        Chain::Published => None,
        Chain::Input => Some(("filter", InetHookNumber::LocalIn, 0, NF_DROP)),
        Chain::Forward => Some(("filter", InetHookNumber::Forward, 0, NF_DROP)),
    }
}

fn chain_message(chain: Chain) -> ChainMessage {
    let mut attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
        ChainAttribute::Name(chain.name().to_owned()),
    ];
    if let Some((kind, hook, priority, policy)) = base(chain) {
        attributes.push(ChainAttribute::Hook(vec![
            Hook::Number(hook.into()),
            Hook::Priority(priority.cast_unsigned()),
        ]));
        attributes.push(ChainAttribute::Policy(policy));
        attributes.push(ChainAttribute::Type(kind.to_owned()));
    }
    ChainMessage { attributes }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut expressions = Vec::new();
    for condition in &rule.matches {
        expressions.extend(condition_expressions(condition));
    }
    expressions.extend(verdict_expressions(rule.verdict));
    let list: Vec<ListAttribute<ExpressionAttribute>> =
        expressions.into_iter().map(Into::into).collect();
    RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(rule.chain.name().to_owned()),
            RuleAttribute::Expressions(list),
        ],
    }
}

fn condition_expressions(condition: &Match) -> Vec<Expressions> {
    match condition {
        Match::In { link, not } => vec![meta(MetaKey::Iifname), compare(*not, link_name(link))],
        Match::Out { link, not } => vec![meta(MetaKey::Oifname), compare(*not, link_name(link))],
        Match::Ipv4 => vec![meta(MetaKey::Nfproto), equal(vec![NFPROTO_IPV4])],
        Match::Ipv6 => vec![meta(MetaKey::Nfproto), equal(vec![NFPROTO_IPV6])],
        Match::Proto(proto) => vec![meta(MetaKey::L4Proto), equal(vec![proto.number()])],
        // Offsets of source and destination in an IPv4 header (RFC 791).
        Match::From { net, not } => network(12, *net, *not),
        Match::To { net, not } => network(16, *net, *not),
        Match::FromLocal => address_type_local(FIB_SOURCE).into(),
        Match::ToLocal => address_type_local(FIB_DESTINATION).into(),
        Match::SourcePort(port) => {
            vec![
                payload(TRANSPORT_HEADER, 0, 2),
                equal(port.to_be_bytes().into()),
            ]
        }
        Match::Port(port) => {
            vec![
                payload(TRANSPORT_HEADER, 2, 2),
                equal(port.to_be_bytes().into()),
            ]
        }
        Match::IcmpType { v6: _, kind } => {
            vec![payload(TRANSPORT_HEADER, 0, 1), equal(vec![*kind])]
        }
        // Offset of the hop limit in an IPv6 header (RFC 8200).
        Match::HopLimit(hops) => vec![payload(NETWORK_HEADER, 7, 1), equal(vec![*hops])],
        Match::Established => connection(CT_STATE, CT_STATE_ESTABLISHED | CT_STATE_RELATED).into(),
        Match::Invalid => connection(CT_STATE, CT_STATE_INVALID).into(),
        Match::Translated => connection(CT_STATUS, CT_STATUS_DNAT).into(),
    }
}

fn verdict_expressions(verdict: Verdict) -> Vec<Expressions> {
    match verdict {
        Verdict::Accept => vec![decide(vec![VerdictAttribute::Code(Code::Other(NF_ACCEPT))])],
        Verdict::Drop => vec![decide(vec![VerdictAttribute::Code(Code::Other(NF_DROP))])],
        Verdict::Jump(chain) => vec![decide(vec![
            VerdictAttribute::Code(Code::Jump),
            VerdictAttribute::Chain(chain.name().to_owned()),
        ])],
        Verdict::Dnat(to) => destination(to),
        Verdict::Masquerade => vec![other("masq", Vec::new())],
    }
}

fn link_name(link: &str) -> Vec<u8> {
    let mut bytes = link.as_bytes().to_vec();
    bytes.resize(LINK_NAME_BYTES, 0);
    bytes
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![
        Meta::DestinationRegister(Register::Reg1),
        Meta::Key(key),
    ])
}

fn payload(base: u32, offset: u32, len: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(len),
    ])
}

fn equal(value: Vec<u8>) -> Expressions {
    compare(false, value)
}

fn compare(not: bool, value: Vec<u8>) -> Expressions {
    let operator = if not {
        Operator::NotEqual
    } else {
        Operator::Equal
    };
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

/// Register 1, four bytes, and-ed with `mask` in place.
fn mask(mask: [u8; 4]) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(4),
        Bitwise::Mask(DataAttribute::Value(mask.into())),
        Bitwise::Xor(DataAttribute::Value(vec![0; 4])),
    ])
}

fn network(offset: u32, net: Cidr, not: bool) -> Vec<Expressions> {
    let mut expressions = vec![payload(NETWORK_HEADER, offset, 4)];
    if net.prefix_len < 32 {
        expressions.push(mask(net.mask().to_be_bytes()));
    }
    let first = net.network().to_bits();
    expressions.push(compare(not, first.to_be_bytes().into()));
    expressions
}

/// Any of `bits` is set in a value of connection tracking.
fn connection(key: u32, bits: u32) -> [Expressions; 3] {
    [
        other(
            "ct",
            vec![(1, register(Register::Reg1)), (2, key.to_be_bytes().into())],
        ),
        mask(bits.to_ne_bytes()),
        compare(true, vec![0; 4]),
    ]
}

/// The packet's source or destination is an address of this host.
fn address_type_local(which: u32) -> [Expressions; 2] {
    let attributes = vec![
        (1, register(Register::Reg1)),
        (2, FIB_RESULT_ADDRTYPE.to_be_bytes().into()),
        (3, which.to_be_bytes().into()),
    ];
    [
        other("fib", attributes),
        equal(RTN_LOCAL.to_ne_bytes().into()),
    ]
}

fn decide(verdict: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
}

fn load(into: Register, value: Vec<u8>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(into),
        Immediate::Data(DataAttribute::Value(value)),
    ])
}

/// `NFTA_NAT_*`: type 1, family 2, lowest address 3, lowest port 5.
fn destination(to: SocketAddrV4) -> Vec<Expressions> {
    vec![
        load(Register::Reg1, to.ip().octets().into()),
        load(Register::Reg2, to.port().to_be_bytes().into()),
        other(
            "nat",
            vec![
                (1, NAT_DNAT.to_be_bytes().into()),
                (2, u32::from(NFPROTO_IPV4).to_be_bytes().into()),
                (3, register(Register::Reg1)),
                (5, register(Register::Reg2)),
            ],
        ),
    ]
}

fn register(register: Register) -> Vec<u8> {
    u32::from(register).to_be_bytes().into()
}

/// An expression that the netlink crate has no type for.
fn other(kind: &str, attributes: Vec<(u16, Vec<u8>)>) -> Expressions {
    let attributes = attributes
        .into_iter()
        .map(|(kind, value)| DefaultNla::new(kind, value))
        .collect();
    Expressions::Other {
        expression_type: kind.to_owned(),
        attributes,
    }
}
