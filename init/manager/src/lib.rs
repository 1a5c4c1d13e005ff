//! The manager: keeps the containers that unit files declare running.
//!
//! It is crash-only (invariant I2): starting and recovering are one code path,
//! and a SIGKILL at any instant loses no container, exit status, acknowledged
//! request or log line. It never links the runtime; it runs it.

pub mod api;
pub mod bus;
pub mod console;
pub mod container;
pub mod core;
pub mod durable;
pub mod exec;
pub mod handle;
pub mod health;
pub mod host;
pub mod init_link;
pub mod installs;
pub mod logs;
pub mod net;
pub mod paths;
pub mod processes;
pub mod run;
#[cfg(test)]
mod skipped;
pub mod trial;
pub mod unit_dirs;
pub mod update;
pub mod ways_in;
