//! The wire between PID 1 and the manager.
//!
//! A `SOCK_SEQPACKET` pair that the manager inherits; its descriptor number is
//! in the environment as [`FD_VARIABLE`]. One JSON document a packet, at most
//! [`MAX_MESSAGE_BYTES`], with up to [`MAX_FDS`] descriptors beside it.
//!
//! The order of talk after each start of the manager:
//!
//! ```text
//! PID 1   -> manager  Welcome{kept}            how many Kept follow
//! PID 1   -> manager  Kept{key, names} + fds   once for each kept key
//! PID 1   -> manager  Exit{..}                 once for each unacknowledged exit
//! PID 1   -> manager  Ready                    all of the past has been told, and
//!                                              the manager's modules are loaded
//! manager -> PID 1    Running                  the backoff starts over
//! ```
//!
//! and from then on either side speaks when it has something to say. This crate
//! holds the words and the framing only: what either end does about a message
//! is not known here.

mod link;
mod message;
mod report;

pub use link::{InitEnd, Link, LinkError, ManagerEnd};
pub use message::{Bad, Checked, FromInit, ShutdownMode, ToInit};
pub use report::{BootReport, PhaseTime, Slot, SlotDevices, StateHealth};

/// The environment variable that tells the manager its descriptor's number.
pub const FD_VARIABLE: &str = "ORLOP_INIT_FD";
/// Where PID 1 leaves its [`BootReport`].
pub const BOOT_REPORT_PATH: &str = "/run/orlop/boot.json";
/// The longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most descriptors that travel with one message.
pub const MAX_FDS: usize = 4;
/// The longest key of kept descriptors, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// The longest name of one kept descriptor, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The most keys that PID 1 keeps descriptors for.
pub const MAX_KEPT: usize = 1024;
