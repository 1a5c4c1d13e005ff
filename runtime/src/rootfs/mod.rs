//! The container's root: what the parent opens on the host, what the child builds from it.
//!
//! `prepare` runs with the caller's privileges, before the child exists, and turns every host
//! path into a descriptor. `enter` runs in the child's namespaces and touches the host no
//! more. `path` is the one place that resolves a path inside a root.

mod copyup;
mod dev;
mod enter;
mod filesystem;
mod mask;
mod options;
pub(crate) mod path;
mod prepare;
mod sysctl;

pub(crate) use enter::{Layout, bind_fd, enter};
pub(crate) use prepare::{Prepared, prepare};
