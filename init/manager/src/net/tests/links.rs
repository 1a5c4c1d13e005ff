//! Names on the bridge, and what a container's namespace looks like.

use std::net::{Ipv4Addr, UdpSocket};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::world::{NEIGHBOUR, PATIENCE, World, in_world};

pub(super) fn query(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.add_query(Query::query(
        Name::from_ascii(format!("{name}.")).unwrap(),
        RecordType::A,
    ));
    message.to_vec().unwrap()
}

#[test]
fn a_container_has_an_address_and_a_way_out() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (a, address) = world.attached(&network, "a").await;
        assert_eq!(address, Ipv4Addr::new(10, 89, 0, 2));
        let addresses = a.command("ip -o -4 address");
        assert!(addresses.contains("127.0.0.1/8"), "{addresses}");
        assert!(
            addresses.contains("eth0    inet 10.89.0.2/16"),
            "{addresses}"
        );
        let routes = a.command("ip route");
        assert!(
            routes.contains("default via 10.89.0.1 dev eth0"),
            "{routes}"
        );
        let host = world.host.command("ip -o link");
        assert!(
            host.contains(&format!("{}@", crate::net::wiring::veth("a"))),
            "{host}"
        );
        // A second container of the same unit takes the first one's place.
        let (again, same) = world.attached(&network, "a").await;
        assert_eq!(same, address);
        assert!(!a.command("ip -o link").contains("eth0"));
        again.listen(9000).await;
        assert!(world.host.connect(address, 9000).await.is_ok());
    });
}

/// A name server on the neighbour that knows every name.
async fn serve_names(world: &World) {
    world
        .neighbour
        .run(|| {
            let socket = UdpSocket::bind((NEIGHBOUR, 53)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let mut message = Message::from_vec(&buffer[..length])
                        .unwrap()
                        .into_response();
                    let name = message.queries[0].name().clone();
                    let data = RData::A(A(Ipv4Addr::new(203, 0, 113, 7)));
                    message.add_answer(Record::from_rdata(name, 60, data));
                    socket.send_to(&message.to_vec().unwrap(), from).unwrap();
                }
            });
        })
        .await;
}

#[test]
fn names_of_units_and_of_the_world() {
    in_world(async |world: World| {
        let network = world.network().await;
        let (a, _) = world.attached(&network, "a").await;
        let (_db, db_address) = world.attached(&network, "db").await;
        serve_names(&world).await;
        let server = (network.gateway(), 53);
        let cases = [
            ("db", Ok(db_address)),
            ("db.orlop", Ok(db_address)),
            ("debian.org", Ok(Ipv4Addr::new(203, 0, 113, 7))),
            ("bd", Err(ResponseCode::NXDomain)),
        ];
        for (name, expected) in cases {
            let answer = a.ask(server, query(name)).await.unwrap();
            let answer = Message::from_vec(&answer).unwrap();
            assert_eq!(answer.metadata.id, 4711, "{name}");
            match expected {
                Ok(address) => assert_eq!(answer.answers[0].data, RData::A(A(address)), "{name}"),
                Err(code) => assert_eq!(answer.metadata.response_code, code, "{name}"),
            }
        }
        let by_tcp = a
            .run(move || {
                use std::io::{Read, Write};
                let mut stream = std::net::TcpStream::connect(server).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let question = query("db");
                let mut framed = u16::try_from(question.len())
                    .unwrap()
                    .to_be_bytes()
                    .to_vec();
                framed.extend(question);
                stream.write_all(&framed).unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut answer).unwrap();
                answer
            })
            .await;
        let by_tcp = Message::from_vec(&by_tcp).unwrap();
        assert_eq!(by_tcp.answers[0].data, RData::A(A(db_address)));
        network.release("db");
        let gone = Message::from_vec(&a.ask(server, query("db")).await.unwrap()).unwrap();
        assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    });
}

#[test]
fn many_may_list_links_and_addresses_at_once() {
    in_world(async |world: World| {
        let network = world.network().await;
        // More than the kernel tells in one go.
        for index in 0..40 {
            world
                .host
                .command(&format!("ip link add many{index} type veth"));
        }
        let wiring = network.wiring().await.unwrap();
        let links = wiring.links();
        let listings = (0..32).map(|_| async {
            let bridge = links.find(crate::net::BRIDGE).await.unwrap().unwrap();
            links.addresses(&bridge).await.unwrap()
        });
        let gateway = (network.gateway(), 16);
        for addresses in futures_util::future::join_all(listings).await {
            assert_eq!(addresses, [gateway]);
        }
    });
}
