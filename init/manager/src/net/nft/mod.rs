//! The packet filter of the host.
//!
//! Three parts that know little of each other: [`rules`] says what the filter
//! is, as data, from the state it is to be for; [`encode`] turns that data
//! into nf_tables messages; [`transport`] hands them to the kernel as one
//! transaction. None of them knows units or links.

mod encode;
mod model;
mod rules;
#[cfg(test)]
pub(crate) mod rules_table;
mod transport;

pub(crate) use model::Proto;
pub(crate) use rules::{PortForward, State, ruleset};
pub use transport::NftError;
pub(crate) use transport::replace;

/// The name of the only table that the host owns.
pub(crate) const TABLE: &str = "orlop";

/// The most published ports at once: one transaction must fit one netlink
/// message batch, and a rule is about half a kilobyte of it.
pub(crate) const MAX_FORWARDS: usize = 512;
