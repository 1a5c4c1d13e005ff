//! The OCI runtime behind the `orlop-runtime` command: synchronous, one thread, no signals.
//!
//! ```text
//! create:  read and check config.json -> state directory -> cgroup, limits
//!          -> open every host path -> clone3 -> [child: init.rs, a list of steps]
//!          -> write id maps -> load device rules -> run hooks -> child reports "created"
//!          -> state.json -> leave
//! start:   connect to the child's socket, say "start"; a closed socket means it executed
//! ```
//!
//! The child is a direct child of `create`, so when that leaves, the caller's reaper is its
//! parent. Everything on the host's side of a container is opened before the child exists (for an
//! ordinary user by the child, once it is in its user namespace); everything inside is reached from the root's descriptor by `rootfs::path`.
//!
//! It must not know units, images, the manager or any network beyond `lo`.

mod activation;
mod cgroup;
mod cli;
mod clocks;
mod commands;
mod config;
mod console;
mod document;
mod failure;
mod handover;
mod handshake;
mod hooks;
#[cfg(test)]
mod hostile;
mod idmaps;
mod init;
mod joined;
mod landlock;
mod launch;
mod log;
mod lsm;
mod namespaces;
mod process;
mod relay;
mod rootfs;
mod seccomp;
mod selfexe;
mod standing;
mod state;
mod subject;

pub use cli::run;

/// The seccomp profile for containers without a profile of their own, as the OCI spec writes
/// one. The same file is `profiles/default-seccomp.json`.
pub const DEFAULT_SECCOMP: &str = include_str!("../profiles/default-seccomp.json");
