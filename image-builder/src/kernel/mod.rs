//! What an image takes from Debian's packages: the kernel with its modules,
//! systemd-boot, and the static e2fsck.
//!
//! It must not know how an image is put together.

pub mod debs;
pub mod modinfo;
pub mod modules;
