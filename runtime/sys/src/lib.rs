//! System calls that neither std nor rustix offers as safe functions, one concept a file.
//!
//! This is the only crate of the workspace with unsafe code. Each module states what makes
//! its functions safe to call. It must not know what a container, a unit or an image is:
//! policy belongs to its callers.

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod fd;
pub mod idmap;
pub mod inherited;
pub mod loopback;
pub mod mount;
pub mod namespace;
pub mod overlay;
pub mod seccomp;
pub mod signal;
mod syscall;
pub mod wait;
