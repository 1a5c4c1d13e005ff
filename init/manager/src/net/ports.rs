//! Whether a port of the host is free to be published.
//!
//! A port that the packet filter translates never reaches a socket of the
//! host, so taking one that the host listens on would silently cut that off.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use super::error::{NetError, Result};
use super::nft::{PortForward, Proto};

fn taken(forward: &PortForward, why: String) -> NetError {
    let protocol = if forward.proto == Proto::Udp {
        "udp"
    } else {
        "tcp"
    };
    NetError::PortTaken {
        port: forward.host_port,
        protocol,
        why,
    }
}

/// The API's own port is not for units: the host could not be reached.
pub(super) fn free_of_api(forward: &PortForward, api_port: Option<u16>) -> Result<()> {
    if forward.proto == Proto::Tcp && api_port == Some(forward.host_port) {
        let why = "it is the API's; publish another, or set another in api.listen".to_owned();
        return Err(taken(forward, why));
    }
    Ok(())
}

/// No other unit publishes it on the same address.
pub(super) fn free_of_units<'a>(
    forward: &PortForward,
    others: impl Iterator<Item = (&'a String, &'a Vec<PortForward>)>,
) -> Result<()> {
    let meets = |other: &PortForward| {
        let same_address = match (other.host_ip, forward.host_ip) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (_, None) => true,
        };
        same_address && other.proto == forward.proto && other.host_port == forward.host_port
    };
    for (unit, theirs) in others {
        if theirs.iter().any(meets) {
            let why = format!("unit {unit} publishes it; give one of the two another port");
            return Err(taken(forward, why));
        }
    }
    Ok(())
}

/// Nothing on the host listens on it. `own` is the name server's port: that is
/// on the bridge's address alone, which a port published on all others leaves
/// to it.
pub(super) fn free_of_host(forward: &PortForward, own: u16) -> Result<()> {
    if forward.host_ip.is_none() && forward.host_port == own {
        return Ok(());
    }
    let address = forward.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let address = SocketAddrV4::new(address, forward.host_port);
    let tried = if forward.proto == Proto::Udp {
        UdpSocket::bind(address).map(drop)
    } else {
        TcpListener::bind(address).map(drop)
    };
    match tried {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let why = "something on the host listens on it; publish another".to_owned();
            Err(taken(forward, why))
        }
        // Any other trouble, such as an address that the host does not have
        // yet, is not about who has the port.
        Err(_) | Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(host_ip: Option<[u8; 4]>, proto: Proto, host_port: u16) -> PortForward {
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 89, 0, 2), 80);
        PortForward {
            proto,
            host_ip: host_ip.map(Into::into),
            host_port,
            to,
        }
    }

    #[test]
    fn ports_of_others() {
        let unit = "other".to_owned();
        let everywhere = vec![forward(None, Proto::Tcp, 80)];
        let one_address = vec![forward(Some([192, 0, 2, 1]), Proto::Tcp, 80)];
        let cases = [
            (forward(None, Proto::Tcp, 80), false, false),
            (forward(None, Proto::Tcp, 81), true, true),
            (forward(None, Proto::Udp, 80), true, true),
            (forward(Some([192, 0, 2, 1]), Proto::Tcp, 80), false, false),
            (forward(Some([192, 0, 2, 2]), Proto::Tcp, 80), false, true),
        ];
        for (ours, beside_everywhere, beside_one) in cases {
            for (theirs, free) in [(&everywhere, beside_everywhere), (&one_address, beside_one)] {
                let result = free_of_units(&ours, [(&unit, theirs)].into_iter());
                assert_eq!(result.is_ok(), free, "{ours:?} beside {theirs:?}");
                if let Err(error) = result {
                    assert!(
                        error.to_string().contains("unit other publishes it"),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn ports_of_the_host() {
        assert!(free_of_api(&forward(None, Proto::Tcp, 7470), Some(7470)).is_err());
        assert!(free_of_api(&forward(None, Proto::Udp, 7470), Some(7470)).is_ok());
        assert!(free_of_api(&forward(None, Proto::Tcp, 7470), None).is_ok());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let here = forward(Some([127, 0, 0, 1]), Proto::Tcp, port);
        let error = free_of_host(&here, 53).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("something on the host listens on it"),
            "{error}"
        );
        // The name server's is free everywhere but on the name server's address.
        assert!(free_of_host(&here, port).is_err());
        let everywhere = forward(None, Proto::Tcp, port);
        assert!(free_of_host(&everywhere, 53).is_err());
        assert!(free_of_host(&everywhere, port).is_ok());
        drop(listener);
        assert!(free_of_host(&here, 53).is_ok());
    }
}
