//! The network with real packets.
//!
//! Each test builds a world of its own from network namespaces: a host, a
//! neighbour on its uplink, and containers in user namespaces as the runtime
//! makes them. Nothing touches the network of the machine that runs the tests.
//! Where the kernel or the rights are missing, a test says so and is skipped.

mod coming;
mod filter;
mod links;
mod uplink;
mod world;
