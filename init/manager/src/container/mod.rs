//! Containers: what a unit becomes when it runs.

pub mod id;
pub mod user;
