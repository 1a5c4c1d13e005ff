//! The host TOML: what an image is built of, and how the host that runs it is set up.
//!
//! Two read it. The builder reads the whole; it writes the part that matters on the running host
//! ([`Host::runtime_toml`]) to `/usr/lib/orlop/host.toml`. The manager reads that, and over it, key
//! by key, `/etc/orlop/host.toml` ([`Host::overlay`]).

mod authority;
mod emit;
mod model;
mod parse;
mod version;

pub use model::{
    Addressing, ApiConfig, ApplyUpdates, Authority, BakedContainer, Bridge, Console, Disk, Host,
    ImageContent, Kernel, Listen, NetworkConfig, Update, Uplink,
};

pub use version::is_version;

#[cfg(test)]
pub(crate) use parse::CATALOGUE;

use crate::{Diagnostic, Parsed, document};

impl Host {
    /// Reads a host TOML. `file` is its name as messages shall show it.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the file's order.
    pub fn parse(file: &str, text: &str) -> Result<Parsed<Host>, Vec<Diagnostic>> {
        Self::parse_bytes(file, text.as_bytes())
    }

    /// Reads a host TOML as it lies on the disk.
    ///
    /// # Errors
    /// As [`Host::parse`]; and a file that is too large, empty or not UTF-8.
    pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Parsed<Host>, Vec<Diagnostic>> {
        let text = document::decode(file, bytes).map_err(|refusal| vec![refusal])?;
        let (value, spans) = parse::whole(file, text)?;
        Ok(Parsed {
            value,
            file: file.to_owned(),
            spans,
        })
    }

    /// This host with every key that `bytes` gives in place of its own.
    ///
    /// # Errors
    /// As [`Host::parse_bytes`]; and keys that only the builder reads, which would have no effect
    /// on a host that is built already.
    pub fn overlay(&self, file: &str, bytes: &[u8]) -> Result<Parsed<Host>, Vec<Diagnostic>> {
        let text = document::decode(file, bytes).map_err(|refusal| vec![refusal])?;
        let (value, spans) = parse::overlay(self, file, text)?;
        Ok(Parsed {
            value,
            file: file.to_owned(),
            spans,
        })
    }

    /// The name on the network: `[network] hostname`, else the image's name.
    pub fn hostname(&self) -> &str {
        self.network.hostname.as_deref().unwrap_or(&self.name)
    }

    /// What the running host reads, as a host TOML: name, version, network, API, console, and of
    /// `[update]` all but `minimum-version`.
    ///
    /// It holds no reference to other files once the caller has put the certificate itself in
    /// place of its path ([`Authority::Pem`]).
    pub fn runtime_toml(&self) -> String {
        emit::runtime(self).to_string()
    }
}
