//! PID 1: boots the machine, keeps the manager running, reaps, shuts down.
//!
//! It starts in the initramfs, where it opens the root and switches to it
//! ([`initramfs`]); there it boots the rest ([`boot`]) and then supervises until
//! the machine goes down ([`supervise`]). It is not started again from the root:
//! that holds the same program, and reading it takes longer than the switch.
//!
//! Until the supervisor is made, everything may fail, and failing ends in a
//! logged reboot, as does a phase that hangs ([`guard`]). Past that line every function is total (I1): what cannot be
//! done is said on the console and gone without.
//!
//! PID 1 must not know what a unit, a container or an image is: only processes,
//! exit statuses, descriptors under a key, and the manager's pulse.

mod boot;
mod clock;
mod command_line;
mod console;
pub mod disk;
mod files;
mod guard;
mod identity;
mod initramfs;
mod modules;
mod mounts;
mod power;
mod process;
mod state;
mod supervise;
mod watchdog;

use anyhow::{Context, Result};
use guard::Guard;
use std::os::fd::OwnedFd;
use supervise::Supervisor;

/// Runs it; as PID 1 it does not return.
pub fn run() {
    if !rustix::process::getpid().is_init() {
        eprintln!("orlop-init is PID 1 of an Orlop host and of no use as another process");
        std::process::exit(1);
    }
    let (signals, mut guard) = match guarded() {
        Ok(begun) => begun,
        Err(error) => power::give_up(&error, None),
    };
    match stages(signals, &mut guard) {
        Ok(supervisor) => supervisor.run(guard),
        Err(error) => power::give_up(&error, Some(guard)),
    }
}

/// What comes before anything that may hang.
fn guarded() -> Result<(OwnedFd, Guard)> {
    let signals = supervise::block_signals().context("blocking signals")?;
    let guard = Guard::begin().context("a thread that guards the boot")?;
    Ok((signals, guard))
}

/// The way to the supervise loop.
fn stages(signals: OwnedFd, guard: &mut Guard) -> Result<Supervisor> {
    let root = initramfs::run(guard)?;
    boot::boot(root, signals, guard)
}
