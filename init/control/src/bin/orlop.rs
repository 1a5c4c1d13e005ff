//! `orlop`, the operator's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    orlop_control::cli::main()
}
