//! Where answers go: standard output, as tables or JSON.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Outcome;

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// The API's own documents; streams give one a line.
    Json,
}

/// Prints a document as JSON, or what `text` makes of it.
pub(super) fn show<T: Serialize>(
    format: Format,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Outcome {
    match format {
        Format::Table => print(&text(document)),
        Format::Json => {
            let text = serde_json::to_string_pretty(document)
                .map_err(|error| super::Failure::new(error.to_string()))?;
            print(&format!("{text}\n"))
        }
    }
}

/// Prints text. A reader that has left is no error: it has seen enough.
pub(super) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(super::Failure::new(format!("cannot print: {error}"))),
    }
}
