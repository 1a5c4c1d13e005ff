//! The `orlop-runtime` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    orlop_runtime::run()
}
