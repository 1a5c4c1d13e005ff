//! Updates over a socket, from a client to a host that exists in these tests only.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bundle;
mod command;
mod host;
mod send;

/// What a client may have to send again, in bytes; a host that lost its power may have lost a quarter
/// of 1 MiB beside.
const UNDER_WAY: usize = 768 << 10;
