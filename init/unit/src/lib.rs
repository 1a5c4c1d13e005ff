//! Unit files and host TOMLs: the model, the parser and the checks between units.
//!
//! This crate is pure. It sees text and gives back values or diagnostics; it opens no file, reads
//! no clock and does not know the state of anything that runs. Whoever calls it has read the bytes
//! and says under which name the messages shall show them.
//!
//! The way of a file through it:
//!
//! ```text
//! bytes --document--> table with spans --unit::parse / host::parse--> checked types --set--> order
//!                         |                      |                                     |
//!                         +------- Diagnostic: file, line, column, message, help ------+
//! ```
//!
//! Everything wrong with a file is reported at once, not only the first thing; and a value of one
//! of the types here is valid by construction, so that nobody further in checks it again.

pub mod diagnostic;
mod document;
pub mod expected;
pub mod host;
mod parsed;
#[cfg(test)]
mod reference;
pub mod set;
mod suggest;
pub mod unit;
pub mod value;

pub use diagnostic::{Diagnostic, Position};
pub use document::schema::SCHEMA;
pub use expected::Expected;
pub use host::{
    Addressing, ApiConfig, ApplyUpdates, Authority, BakedContainer, Bridge, Console, Disk, Host,
    ImageContent, Kernel, Listen, NetworkConfig, Update, Uplink,
};
pub use parsed::{Parsed, Spans};
pub use set::{Context, UnitSet};
pub use unit::{
    Container, Health, IoLimit, Logs, Network, Probe, Resources, Restart, RestartPolicy, Role,
    Stop, Unit,
};
pub use value::{
    Bytes, Capability, Cidr, Device, ImageName, Mount, PortMap, Protocol, Rlimit, RlimitKind,
    Signal, Tmpfs, UnitName, UpdateKey, User, UserId, VolumeSource,
};

/// The largest unit file or host TOML that is read, in bytes (1 MiB).
///
/// Callers that read files should stop at one byte more than this and pass what they have: the
/// parser then says what is wrong without anyone having held a huge file in memory.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
