//! What a unit file declares: one container, and how it is to be kept running.
//!
//! Defaults are filled in here, so a reader of the model never asks "and if it is not given?".
//! What only an image can answer (its command, its user, its stop signal) stays `None`.

mod emit;
mod model;
mod parse;

pub use model::{
    Container, Health, IoLimit, Logs, Network, Probe, Resources, Restart, RestartPolicy, Role,
    Stop, Unit,
};

#[cfg(test)]
pub(crate) use parse::CATALOGUE;

use crate::{Diagnostic, Parsed, document};

impl Unit {
    /// Reads a unit file. `file` is its path or name as messages shall show it; the unit's name is
    /// its last part without `.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the file's order.
    pub fn parse(file: &str, text: &str) -> Result<Parsed<Unit>, Vec<Diagnostic>> {
        Self::parse_bytes(file, text.as_bytes())
    }

    /// Reads a unit file as it lies on the disk.
    ///
    /// # Errors
    /// As [`Unit::parse`]; and a file that is too large, empty or not UTF-8.
    pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Parsed<Unit>, Vec<Diagnostic>> {
        let text = document::decode(file, bytes).map_err(|refusal| vec![refusal])?;
        let (value, spans) = parse::parse(file, text)?;
        Ok(Parsed {
            value,
            file: file.to_owned(),
            spans,
        })
    }

    /// The unit as a unit file that parses to the same value, every default spelled out.
    pub fn to_toml(&self) -> String {
        emit::emit(self).to_string()
    }
}
