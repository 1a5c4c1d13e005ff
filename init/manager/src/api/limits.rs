//! How much of the host its clients may take (I10).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take to come, the pause before it included.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the next bytes of a request's body may take to come.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may leave what was sent to it unread.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// A request's head, in bytes.
pub(super) const HEAD_SIZE_MAX: usize = 32 * 1024;
/// A document in a request, in bytes: 256 unit files fit.
pub(super) const DOCUMENT_SIZE_MAX: usize = 16 * 1024 * 1024;
/// Connections over the network whose clients have shown a certificate.
pub(super) const NETWORK_CONNECTIONS_MAX: usize = 64;
/// Connections to the host's own socket.
pub(super) const LOCAL_CONNECTIONS_MAX: usize = 64;
/// Handshakes under way.
const HANDSHAKES_MAX: usize = 64;
/// Handshakes under way with one address, so that one cannot take all.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 8;

/// Who is shaking hands.
#[derive(Debug, Clone)]
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            by_address: Arc::default(),
        }
    }

    /// Leave for one more handshake with `address`, or none when there are too
    /// many.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Handshake> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let mut by_address = self.by_address.lock().ok()?;
        let count = by_address.entry(address).or_insert(0);
        if *count >= HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        drop(by_address);
        Some(Handshake {
            address,
            by_address: self.by_address.clone(),
            _permit: permit,
        })
    }
}

/// Leave for one handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let Ok(mut by_address) = self.by_address.lock() else {
            return;
        };
        if let Some(count) = by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_handshakes() {
        let handshakes = Handshakes::new();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut held = Vec::new();
        for _ in 0..HANDSHAKES_PER_ADDRESS_MAX {
            held.push(handshakes.admit(address(1)).unwrap());
        }
        assert!(handshakes.admit(address(1)).is_none());
        for last in 2..=u8::try_from(HANDSHAKES_MAX / HANDSHAKES_PER_ADDRESS_MAX).unwrap() {
            for _ in 0..HANDSHAKES_PER_ADDRESS_MAX {
                held.push(handshakes.admit(address(last)).unwrap());
            }
        }
        assert!(handshakes.admit(address(100)).is_none());
        held.clear();
        assert!(handshakes.by_address.lock().unwrap().is_empty());
        assert!(handshakes.admit(address(1)).is_some());
    }
}
