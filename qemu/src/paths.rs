//! Where the project's own files and everything made from them live.

use std::path::{Path, PathBuf};

/// The target triple that every binary is built for, as `.cargo/config.toml` names it.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The repository's root, the folder of the workspace's `Cargo.toml`.
///
/// Known from where this crate was compiled, since `cargo vm` only ever runs
/// from a checkout.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder, which also holds every cache and disk made here.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Where release binaries land.
pub fn binaries() -> PathBuf {
    target().join(TARGET).join("release")
}

/// Downloads and builds that are expensive and unchanging.
pub fn cache() -> PathBuf {
    target().join("cache")
}

/// Names another folder than [`vm`]'s own in the environment.
pub const VM_PLACE: &str = "ORLOP_VM";

/// Disks and runtime files of `cargo vm up`.
pub fn vm() -> PathBuf {
    std::env::var_os(VM_PLACE).map_or_else(|| target().join("vm"), PathBuf::from)
}
