//! `cargo vm`: boots Orlop under QEMU, and runs every test.

use std::process::ExitCode;

fn main() -> ExitCode {
    match orlop_qemu::vm::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
