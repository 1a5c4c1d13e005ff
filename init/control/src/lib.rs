//! What operators and programs use to drive a host: the API's types, a client
//! for them, the keys that mutual TLS needs, and the `orlop` command.
//!
//! The manager shares [`types`] and [`pki`] with this crate's other users.
//! Nothing here knows how a unit is run.

pub mod cli;
pub mod client;
pub mod pki;
pub mod types;
