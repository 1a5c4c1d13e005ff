//! Ports of the loopback that QEMU is to take a moment later.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

/// What the kernel gives to connections unless it is told otherwise.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// A free port of the loopback: `wanted` when nobody has it. Any other is given
/// out once in a process, and none is one that a connection could be given
/// before QEMU has it.
///
/// # Errors
///
/// When no port at all can be bound.
pub fn free_port(wanted: Option<u16>) -> Result<u16> {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    if let Some(port) = wanted.filter(is_free) {
        return Ok(port);
    }
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let candidates = beside(text.ok().as_deref().and_then(range).unwrap_or(EPHEMERAL));
    let count = candidates.len();
    // Processes that run at the same time begin at different places.
    let start = process::id() as usize * 97;
    let mut turns = std::iter::repeat_with(|| GIVEN.fetch_add(1, Ordering::Relaxed)).take(count);
    turns
        .find_map(|turn| {
            let port = candidates.clone().nth((start + turn) % count)?;
            is_free(&port).then_some(port)
        })
        .with_context(|| format!("no port of {candidates:?} is free on 127.0.0.1"))
}

/// Reads the kernel's pair of numbers.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some(numbers.next()??..=numbers.next()??)
}

/// The larger part of the unprivileged ports that is not `ephemeral`; all of them
/// when hardly any are left.
fn beside(ephemeral: RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = 1024..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1)..=u16::MAX;
    let larger = if below.len() >= above.len() {
        below
    } else {
        above
    };
    if larger.len() < 1000 {
        1024..=u16::MAX
    } else {
        larger
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{EPHEMERAL, beside, free_port, range};

    #[test]
    fn ports_that_connections_get_are_left_alone() {
        for (ephemeral, ours) in [
            (EPHEMERAL, 1024..=32767),
            (1024..=40000, 40001..=65535),
            (1024..=65535, 1024..=65535),
            (20000..=65535, 1024..=19999),
        ] {
            assert_eq!(beside(ephemeral.clone()), ours, "{ephemeral:?}");
        }
        assert_eq!(range("32768\t60999\n"), Some(EPHEMERAL));
        assert_eq!(range("32768"), None);
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port(None).expect("one")).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_that_is_taken_is_not_insisted_on() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert_ne!(free_port(Some(port)).expect("another"), port);
    }
}
