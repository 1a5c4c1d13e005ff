//! How much one container, and all together, may ask of the server at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

/// The most at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// By all clients.
    pub(super) all: u32,
    /// By one client.
    pub(super) each: u32,
}

/// A number of seats, shared by clients.
#[derive(Debug)]
pub(super) struct Seats {
    what: &'static str,
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by: BTreeMap<Ipv4Addr, u32>,
    all: u32,
    refused: u64,
}

/// A seat; dropping it frees it.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    client: Ipv4Addr,
}

impl Seats {
    pub(super) fn new(what: &'static str, limits: Limits) -> Arc<Seats> {
        Arc::new(Seats {
            what,
            limits,
            taken: Mutex::default(),
        })
    }

    /// A seat for `client`, if there is one. Refusals are logged, the more of
    /// them the more rarely.
    pub(super) fn take(self: &Arc<Self>, client: Ipv4Addr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by.get(&client).copied().unwrap_or(0);
        if taken.all >= self.limits.all || own >= self.limits.each {
            taken.refused += 1;
            if taken.refused.is_power_of_two() {
                let (what, refused) = (self.what, taken.refused);
                warn!(%client, refused, "name server: too many {what} at once");
            }
            return None;
        }
        taken.by.insert(client, own + 1);
        taken.all += 1;
        Some(Seat {
            seats: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self
            .seats
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_takes_all_and_a_dropped_seat_is_free() {
        let seats = Seats::new("questions", Limits { all: 3, each: 2 });
        let [a, b] = [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)];
        let first = seats.take(a).unwrap();
        let _second = seats.take(a).unwrap();
        assert!(seats.take(a).is_none(), "more than its share");
        let _third = seats.take(b).unwrap();
        assert!(seats.take(b).is_none(), "more than there are");
        drop(first);
        assert!(seats.take(b).is_some());
        assert_eq!(seats.taken.lock().unwrap().by.len(), 2);
    }
}
