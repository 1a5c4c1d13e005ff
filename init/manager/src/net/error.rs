//! What can be wrong with the network, in words an operator can act on.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::nft::NftError;

/// A network operation that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The configuration cannot work.
    #[error("network configuration: {0}")]
    Config(String),
    /// Every address of the bridge's network is taken.
    #[error(
        "the containers' network {subnet} has no free address left ({used} units hold one); \
         remove units, or set a larger network.bridge.subnet"
    )]
    SubnetFull {
        /// The network, as address/prefix.
        subnet: String,
        /// How many addresses are taken.
        used: usize,
    },
    /// A unit is attached that no address was reserved for.
    #[error("unit `{0}` has no address reserved on the bridge")]
    NotReserved(String),
    /// A port that a unit publishes is not free.
    #[error("port {port}/{protocol} of the host cannot be published: {why}")]
    PortTaken {
        /// The host's port.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Who has it, and what to do.
        why: String,
    },
    /// More ports are published than the packet filter takes.
    #[error("{wanted} published ports are more than the {limit} that the packet filter takes")]
    TooManyPorts {
        /// With the unit's.
        wanted: usize,
        /// The limit.
        limit: usize,
    },
    /// A link, address or route could not be set.
    #[error("cannot {doing}: {why}")]
    Link {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        why: String,
    },
    /// A container's network namespace could not be entered.
    #[error("cannot enter the network namespace of process {pid}: {source}")]
    Namespace {
        /// The container's process.
        pid: i32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The packet filter could not be set.
    #[error(transparent)]
    Filter(#[from] NftError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name server could not take its address.
    #[error("the name server cannot listen on {address} port 53: {source}")]
    NameServer {
        /// The bridge's address.
        address: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The bridge, the packet filter or the name server are not there.
    #[error("the network is not up: {0}; it is tried again")]
    Down(String),
    /// A task or thread of the manager ended early.
    #[error("{0} ended before it was done")]
    Ended(&'static str),
}

/// Short for every result here.
pub type Result<T, E = NetError> = std::result::Result<T, E>;

impl NetError {
    /// A kernel answer about links, addresses or routes, in words.
    pub(super) fn link(doing: impl Into<String>, error: &rtnetlink::Error) -> NetError {
        let why = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        };
        NetError::Link {
            doing: doing.into(),
            why,
        }
    }
}

/// The errno of a kernel answer, positive; nothing when there was none.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}
