//! Updates over a socket, from a client to a host that exists in these tests only.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bundle;
mod command;
mod host;
mod send;
