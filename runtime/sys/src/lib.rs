//! System calls that neither std nor rustix offers as safe functions, one concept a file.
//!
//! This is the only crate of the host with unsafe code (`image-builder/loader`, which the
//! firmware runs, has its own). Each module states what makes its functions safe to call. It must
//! not know what a container, a unit or an image is: policy belongs to its callers.

pub mod blkpg;
pub mod bpf;
pub mod children;
pub mod clone;
pub mod dm;
pub mod exec;
pub mod ext4;
pub mod fd;
pub mod idmap;
pub mod inherited;
pub mod keyring;
pub mod landlock;
pub mod loopback;
pub mod mount;
pub mod namespace;
pub mod overlay;
pub mod pass;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod signals;
mod syscall;
pub mod wait;
pub mod watchdog;
