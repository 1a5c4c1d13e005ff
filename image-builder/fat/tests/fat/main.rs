//! The boot partition's file system: read as firmware does, torn as power does, and mended.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod disk;
mod maker;
mod mending;
mod mutations;
mod reading;
mod renames;
mod tools;
mod vfat;
