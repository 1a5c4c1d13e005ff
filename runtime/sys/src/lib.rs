//! System calls that neither std nor rustix offers as safe functions, one concept a file.
//!
//! This is the only crate of the workspace with unsafe code. Each module states what makes
//! its functions safe to call. It must not know what a container, a unit or an image is:
//! policy belongs to its callers.

pub mod clone;
pub mod idmap;
pub mod inherited;
pub mod mount;
pub mod overlay;
mod syscall;
pub mod wait;
