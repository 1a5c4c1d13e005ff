//! `orlop-manager`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .init();
    let run = orlop_manager::run::Options::parse(std::env::args().skip(1))
        .and_then(orlop_manager::run::main);
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("orlop-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}
