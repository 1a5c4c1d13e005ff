//! One transaction over a netlink socket of its own.
//!
//! nf_tables is synchronous: when sending a batch returns, it is applied whole
//! or not at all, and the answer is waiting. A socket is opened for each
//! transaction, so that no answer of an earlier one can be taken for this one.

use std::io;

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::encode;
use super::model::Rule;

/// Why the packet filter is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// No socket, or it failed.
    #[error("packet filter: {doing}: {source}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a part of the transaction, so the filter is unchanged.
    #[error("packet filter: the kernel refused `{what}`: {source}{}", hint(source))]
    Refused {
        /// The table, chain or rule.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("packet filter: cannot read the kernel's answer: {0}")]
    Answer(String),
}

/// The kernel says "not found" of an expression or chain type that it lacks.
fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound {
        "; is one of the modules nft_chain_nat, nft_ct, nft_fib_inet, nft_masq, nft_nat missing?"
    } else {
        ""
    }
}

/// Makes `rules` the whole of our table, in one transaction.
///
/// # Errors
/// The first part that the kernel refuses; the filter is then as it was.
pub(crate) fn replace(rules: &[Rule]) -> Result<(), NftError> {
    transact(encode::replace(rules))
}

fn transact(steps: Vec<encode::Step>) -> Result<(), NftError> {
    let failed = |doing| move |source| NftError::Socket { doing, source };
    let (bytes, names) = encode::batch(steps);
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed("open a netlink socket"))?;
    socket
        .bind_auto()
        .map_err(failed("bind the netlink socket"))?;
    // An error then carries the header of what it is about, not all of it.
    socket
        .set_cap_ack(true)
        .map_err(failed("set up the netlink socket"))?;
    // The whole batch must fit; the kernel rounds this down to its limit, and
    // says so when sending if that is not enough.
    set_socket_send_buffer_size(&socket, bytes.len().saturating_mul(2).max(64 * 1024))
        .map_err(|error| failed("set up the netlink socket")(error.into()))?;
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .map_err(failed("send the rules"))?;
    socket
        .set_non_blocking(true)
        .map_err(failed("set up the netlink socket"))?;
    let last = u32::try_from(names.len()).unwrap_or(u32::MAX);
    loop {
        let (answer, _) = socket.recv_from_full().map_err(failed("read the answer"))?;
        if read_answer(&answer, &names, last)? {
            return Ok(());
        }
    }
}

/// Whether the batch's last step is acknowledged; the first refusal is an error.
fn read_answer(answer: &[u8], names: &[String], last: u32) -> Result<bool, NftError> {
    let mut rest = answer;
    while !rest.is_empty() {
        let unreadable =
            |error: netlink_packet_core::DecodeError| NftError::Answer(error.to_string());
        let length = NetlinkBuffer::new_checked(rest)
            .map_err(unreadable)?
            .length() as usize;
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(unreadable)?;
        let sequence = message.header.sequence_number;
        if let NetlinkPayload::Error(error) = message.payload {
            if error.code.is_some() {
                let at = (sequence as usize).checked_sub(1);
                let what = at.and_then(|at| names.get(at)).cloned();
                let what = what.unwrap_or_else(|| "the whole transaction".to_owned());
                return Err(NftError::Refused {
                    what,
                    source: error.to_io(),
                });
            }
            if sequence == last {
                return Ok(true);
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}
