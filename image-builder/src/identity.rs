//! Identifiers that depend on the image's name and version and on nothing
//! else, so that two builds agree on every byte.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Name and version of an image, from which its identifiers are made.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The host image's name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

impl Identity<'_> {
    /// 32 bytes for the purpose `what`.
    pub fn bytes(&self, what: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in ["orlop image", self.name, self.version, what] {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// A version 8 UUID (RFC 9562: of our own making) for the purpose `what`.
    pub fn uuid(&self, what: &str) -> Uuid {
        let mut half = [0; 16];
        half.copy_from_slice(&self.bytes(what)[..16]);
        Builder::from_custom_bytes(half).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_by_every_part_and_by_nothing_else() {
        let id = |name, version, what| Identity { name, version }.uuid(what);
        assert_eq!(id("a", "1", "disk"), id("a", "1", "disk"));
        let others = [
            id("a", "1", "esp"),
            id("a", "2", "disk"),
            id("b", "1", "disk"),
            id("a1", "", "disk"),
        ];
        assert!(others.iter().all(|other| *other != id("a", "1", "disk")));
        assert_eq!(id("a", "1", "disk").get_version_num(), 8);
    }
}
