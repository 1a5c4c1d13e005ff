//! The three clocks, in whole units. The only place that asks for the time.

use rustix::time::{ClockId, clock_gettime};

fn milliseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Milliseconds since the kernel started, sleep included.
pub(crate) fn since_boot_ms() -> u64 {
    milliseconds(ClockId::Boottime)
}

/// Milliseconds of the supervise loop's clock.
pub(crate) fn now_ms() -> u64 {
    milliseconds(ClockId::Monotonic)
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    milliseconds(ClockId::Realtime)
}
