//! Builds disk images, update bundles and small OCI images.
//!
//! [`build`] goes from a host TOML to a disk that boots, without root and
//! without loop devices, and from the same inputs to the same bytes:
//!
//! ```text
//! host TOML, units, binaries, Debian packages, OCI archives      (host, kernel)
//!   -> root tree -> EROFS -> hash tree -> root hash              (rootfs, erofs, orlop-verity)
//!   -> initramfs + kernel + command line with the hash -> UKI    (initramfs, cpio, uki)
//!   -> loader for the firmware                                   (efi)
//!   -> ESP, state, partition table -> disk                       (esp, state, gpt, assemble)
//!   -> root and UKI in chunks, signed -> update bundle           (bundle)
//! ```
//!
//! The writers in the second column of names are pure and know nothing of each
//! other. Nothing here knows a running host.

mod assemble;
pub mod bundle;
pub mod cpio;
mod debian;
pub mod efi;
pub mod erofs;
pub mod esp;
pub mod gpt;
mod host;
mod host_pair;
pub mod identity;
mod initramfs;
pub mod inspect;
pub mod kernel;
pub mod oci;
mod pick;
mod place;
mod request;
mod rootfs;
mod state;
mod tool;
pub mod uki;

pub use assemble::build;
pub use request::{BuildReport, BuildRequest, Compression, Format, Part, Progress};
