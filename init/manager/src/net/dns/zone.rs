//! What the server says of its own accord, as a pure function.
//!
//! A unit is known as its name and as its name under `orlop`. Names under
//! `orlop` and names of one label never leave the host.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::net::addresses::Pool;

/// The domain of units.
const DOMAIN: &str = "orlop";
/// Seconds that an answer may be kept: an address changes only when a unit is
/// removed and made again, but then it should be noticed.
const TTL_S: u32 = 5;
/// What a datagram may hold without being cut on the way.
const PAYLOAD_BYTES: u16 = 1232;

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is not a question.
    Ignore,
    /// The answer.
    Answer(Vec<u8>),
    /// It is for other servers.
    Forward,
}

/// What `question` gets, given who has which address.
pub(super) fn decide(question: &[u8], pool: &Pool) -> Decision {
    let Ok(message) = Message::from_vec(question) else {
        return match reply_to_header(question, ResponseCode::FormErr) {
            Some(answer) => Decision::Answer(answer),
            None => Decision::Ignore,
        };
    };
    if message.metadata.message_type == MessageType::Response {
        return Decision::Ignore;
    }
    if message.metadata.op_code != OpCode::Query {
        return finish(&message, ResponseCode::NotImp, Vec::new());
    }
    let [query] = message.queries.as_slice() else {
        return finish(&message, ResponseCode::FormErr, Vec::new());
    };
    if query.query_class() != DNSClass::IN {
        return Decision::Forward;
    }
    let name = query.name().to_lowercase().to_ascii();
    let name = name.trim_end_matches('.').to_owned();
    match classify(&name, query.query_type(), pool) {
        Known::Unit(address) => {
            let wanted = [RecordType::A, RecordType::ANY].contains(&query.query_type());
            let record = Record::from_rdata(query.name().clone(), TTL_S, RData::A(A(address)));
            let answers = if wanted { vec![record] } else { Vec::new() };
            finish(&message, ResponseCode::NoError, answers)
        }
        Known::Address(unit) => match Name::from_ascii(format!("{unit}.{DOMAIN}.")) {
            Ok(target) => {
                let data = RData::PTR(PTR(target));
                let record = Record::from_rdata(query.name().clone(), TTL_S, data);
                finish(&message, ResponseCode::NoError, vec![record])
            }
            Err(_) => finish(&message, ResponseCode::NXDomain, Vec::new()),
        },
        Known::Domain => finish(&message, ResponseCode::NoError, Vec::new()),
        Known::Nobody => finish(&message, ResponseCode::NXDomain, Vec::new()),
        Known::Elsewhere => Decision::Forward,
    }
}

/// "Refused": too much is being asked at once.
pub(super) fn refuse(question: &[u8]) -> Option<Vec<u8>> {
    reply_to_header(question, ResponseCode::Refused)
}

/// "Server failure": no other server answers.
pub(super) fn fail(question: &[u8]) -> Option<Vec<u8>> {
    reply_to_header(question, ResponseCode::ServFail)
}

enum Known {
    Unit(Ipv4Addr),
    Address(String),
    Domain,
    Nobody,
    Elsewhere,
}

fn classify(name: &str, kind: RecordType, pool: &Pool) -> Known {
    if name == DOMAIN {
        return Known::Domain;
    }
    let in_domain = name
        .strip_suffix(DOMAIN)
        .and_then(|rest| rest.strip_suffix('.'));
    if let Some(address) = pool.address(in_domain.unwrap_or(name)) {
        return Known::Unit(address);
    }
    if in_domain.is_some() {
        return Known::Nobody;
    }
    if let Some(address) = reverse(name).filter(|address| pool.net().contains(*address)) {
        let mut holders = pool.holders().iter();
        let unit = holders.find(|(_, held)| **held == address);
        return unit.map_or(Known::Nobody, |(unit, _)| Known::Address(unit.clone()));
    }
    let is_address = [RecordType::A, RecordType::AAAA].contains(&kind);
    if is_address && !name.is_empty() && !name.contains('.') {
        return Known::Nobody;
    }
    Known::Elsewhere
}

/// The address that `4.3.2.1.in-addr.arpa` asks about.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let backwards: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = backwards.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

fn finish(question: &Message, code: ResponseCode, answers: Vec<Record>) -> Decision {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    reply.metadata.response_code = code;
    reply.queries.clone_from(&question.queries);
    reply.answers = answers;
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_BYTES);
        reply.set_edns(edns);
    }
    reply.to_vec().map_or(Decision::Ignore, Decision::Answer)
}

/// An error without answers, from the header alone (RFC 1035 4.1.1): number,
/// operation and "recursion desired" are the client's.
fn reply_to_header(question: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let header = question.get(..12)?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    let mut reply = vec![0; 12];
    reply[..2].copy_from_slice(&header[..2]);
    reply[2] = 0x80 | (header[2] & 0x79);
    reply[3] = 0x80 | code.low();
    Some(reply)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use orlop_unit::Cidr;
    use proptest::prelude::*;

    use super::*;

    fn pool() -> Pool {
        let net = Cidr {
            address: Ipv4Addr::new(10, 89, 0, 0),
            prefix_len: 16,
        };
        let mut pool = Pool::new(net).unwrap();
        pool.reserve("web").unwrap();
        pool.reserve("shop-db").unwrap();
        pool
    }

    fn ask(name: &str, kind: RecordType) -> Option<Message> {
        let mut question = Message::query();
        question.metadata.id = 77;
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        match decide(&question.to_vec().unwrap(), &pool()) {
            Decision::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap()),
            Decision::Forward => None,
            Decision::Ignore => panic!("{name} is ignored"),
        }
    }

    /// Name, type, and "CODE data" as answered; nothing when passed on.
    #[test]
    fn names_are_answered() {
        let cases = [
            ("web.", RecordType::A, Some("NoError 10.89.0.2")),
            ("WEB.", RecordType::A, Some("NoError 10.89.0.2")),
            ("web.orlop.", RecordType::A, Some("NoError 10.89.0.2")),
            ("Shop-DB.Orlop.", RecordType::A, Some("NoError 10.89.0.3")),
            ("web.", RecordType::AAAA, Some("NoError")),
            ("web.orlop.", RecordType::MX, Some("NoError")),
            ("orlop.", RecordType::SOA, Some("NoError")),
            ("wbe.", RecordType::A, Some("NXDomain")),
            ("wbe.", RecordType::AAAA, Some("NXDomain")),
            ("wbe.orlop.", RecordType::A, Some("NXDomain")),
            ("a.web.orlop.", RecordType::A, Some("NXDomain")),
            (
                "2.0.89.10.in-addr.arpa.",
                RecordType::PTR,
                Some("NoError web.orlop."),
            ),
            ("9.0.89.10.in-addr.arpa.", RecordType::PTR, Some("NXDomain")),
            ("1.2.0.192.in-addr.arpa.", RecordType::PTR, None),
            ("debian.org.", RecordType::A, None),
            ("web.example.com.", RecordType::A, None),
            ("notorlop.", RecordType::TXT, None),
            ("com.", RecordType::NS, None),
            (".", RecordType::NS, None),
        ];
        for (name, kind, expected) in cases {
            let answer = ask(name, kind).map(|reply| {
                assert_eq!(reply.metadata.id, 77);
                assert_eq!(reply.metadata.message_type, MessageType::Response);
                let data = reply
                    .answers
                    .iter()
                    .map(|record| format!(" {}", record.data));
                let code = format!("{:?}", reply.metadata.response_code);
                code + &data.collect::<String>()
            });
            assert_eq!(answer.as_deref(), expected, "{name} {kind}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut response = Message::query();
        response.metadata.message_type = MessageType::Response;
        assert_eq!(
            decide(&response.to_vec().unwrap(), &pool()),
            Decision::Ignore
        );
        assert_eq!(decide(&[1, 2, 3], &pool()), Decision::Ignore);
        let mut two = Message::query();
        for name in ["a.", "b."] {
            two.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        }
        let Decision::Answer(bytes) = decide(&two.to_vec().unwrap(), &pool()) else {
            panic!("no answer to two questions")
        };
        assert_eq!(bytes[3] & 15, 1, "format error");
    }

    proptest! {
        /// Bytes of any kind: an answer is a response with the same number.
        #[test]
        fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Decision::Answer(answer) = decide(&bytes, &pool()) {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer[2] & 0x80 != 0);
            }
            for answer in [refuse(&bytes), fail(&bytes)].into_iter().flatten() {
                prop_assert_eq!(answer.len(), 12);
            }
        }
    }
}
