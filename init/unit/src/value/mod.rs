//! The small types: each parses from the text that a unit file holds, refuses what is not one with
//! an [`Expected`](crate::Expected), and prints in the form that it parses.

mod bytes;
mod capability;
mod cidr;
pub mod duration;
mod image;
mod mount;
mod name;
mod path;
mod port;
mod rlimit;
mod signal;
mod update_key;
mod user;

pub use bytes::Bytes;
pub use capability::Capability;
pub use cidr::Cidr;
pub use image::ImageName;
pub use mount::{Device, Mount, Tmpfs, VolumeSource};
pub use name::{UnitName, label_problem, volume_name_problem};
pub use path::is_absolute_and_plain;
pub(crate) use port::parse_port;
pub use port::{PortMap, Protocol};
pub use rlimit::{Rlimit, RlimitKind};
pub use signal::Signal;
pub use update_key::UpdateKey;
pub use user::{User, UserId};
