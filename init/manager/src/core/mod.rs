//! What units are to be, what they are, and how the one gets to the other.
//!
//! [`state`] decides, purely; the owner task applies. Everything that a later
//! manager has to know is in [`record`] and [`exits`] before it is acted on.

pub mod apply;
mod claims;
mod cleaning;
pub mod definitions;
mod entry;
pub mod exits;
mod fileless;
mod files;
mod gate;
mod images;
mod operations;
mod output;
pub mod owner;
pub mod past;
pub mod record;
mod recover;
mod reload;
mod requests;
pub mod state;
mod stopping;
mod strangers;
mod verdict;

pub(crate) use owner::now_ms;
