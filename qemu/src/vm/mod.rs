//! The `cargo vm` command, one module a subcommand.

mod bench;
mod crash;
mod down;
mod faults;
mod files;
mod host;
mod test;
mod trial;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Boot Orlop under QEMU, and test it.
#[derive(Parser)]
#[command(name = "cargo vm", bin_name = "cargo vm")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build everything, boot the demo, wait until its containers are healthy
    Up(up::Options),
    /// Shut the guest down that `up` left running
    Down,
    /// Measure boot times, memory, sizes and rebuilds
    Bench(bench::Options),
    /// Cut power at each write of an update, for longer than the tests do
    Crash(crash::Options),
    /// Run the stories of faults in updates in their full forms
    Faults(faults::Options),
    /// Run all tests: format, clippy, unit, property, tidy, end to end under QEMU
    Test(test::Options),
}

/// Parses the command line and does what it says.
///
/// # Errors
///
/// Whatever kept the subcommand from its end.
pub fn run() -> Result<()> {
    match Arguments::parse().command {
        Action::Up(options) => up::run(&options),
        Action::Down => down::run(),
        Action::Bench(options) => bench::run(&options),
        Action::Crash(options) => crash::run(&options),
        Action::Faults(options) => faults::run(&options),
        Action::Test(options) => test::run(&options),
    }
}
