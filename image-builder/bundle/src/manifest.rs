//! The manifest: what a bundle holds, in the words that are signed.

use orlop_unit::host::is_version;
use orlop_unit::value::label_problem;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Digest, Hex};

/// The format of bundles that this crate writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// The only machine that hosts are built for.
pub const ARCHITECTURE: &str = "x86-64";

/// Bytes of the largest manifest.
pub(crate) const MANIFEST_MAX: u32 = 64 << 10;
/// Bytes of the largest index: about 95 000 chunks, or 3 GiB at the usual size of one. A host knows
/// each chunk while it updates, and has 48 MiB for all of that.
pub(crate) const INDEX_MAX: u32 = 4 << 20;
/// Bytes of the largest root.
const ROOT_MAX: u64 = 16 << 30;
/// Bytes of the largest unified kernel image.
const UKI_MAX: u64 = 1 << 30;
/// Bytes of a block of the root, to dm-verity.
const BLOCK: u64 = 4096;

/// A bundle's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The host image's name; only hosts of this name take the bundle.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The time that its files carry, in seconds since 1970.
    pub source_date: u64,
    /// The machine that it runs on: [`ARCHITECTURE`].
    pub architecture: String,
    /// The oldest version that it may replace; any when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_version: Option<String>,
    /// The root file system.
    pub root: Content,
    /// The unified kernel image.
    pub uki: Content,
    /// The bundle's index.
    pub index: Content,
    /// What the root's hash tree is made of.
    pub verity: Verity,
}

/// Size and digest of something in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Digest,
}

/// The parameters of the root's hash tree that are not the same for every image: it is of version
/// 1 and type 1, with SHA-256 and blocks of 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verity {
    /// The hash of the topmost block, which the UKI's command line demands.
    pub root_hash: Digest,
    /// Hashed before each block.
    pub salt: Hex<32>,
    /// Identity of the tree, in its superblock.
    pub uuid: Hex<16>,
}

/// Why a manifest is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// A later format, or an invented one.
    #[error(
        "manifest: format {0}, expected {FORMAT}; the bundle needs a newer Orlop than this one"
    )]
    Format(u64),
    /// No JSON, or not with these keys.
    #[error("manifest: {0}; build the bundle again with `orlop-image build --sign KEY`")]
    Json(String),
    /// A value that cannot be.
    #[error("manifest: {key}: {problem}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong, and what was expected.
        problem: String,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Another format; what is not JSON, lacks a key or has an unknown one; values out of range.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        /// First the format: other formats may have other keys.
        #[derive(Deserialize)]
        struct Probe {
            format: u64,
        }
        let json = |error: serde_json::Error| ManifestError::Json(error.to_string());
        let Probe { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format != u64::from(FORMAT) {
            return Err(ManifestError::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as it is signed.
    ///
    /// # Errors
    /// Values that [`Manifest::parse`] would refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let json = serde_json::to_vec_pretty(self);
        let mut bytes = json.map_err(|error| ManifestError::Json(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let refuse = |key, problem: String| Err(ManifestError::Value { key, problem });
        if let Some(problem) = label_problem(&self.name) {
            return refuse(
                "name",
                format!("{:?} cannot name a host: {problem}", self.name),
            );
        }
        let versions = [
            ("version", Some(&self.version)),
            ("minimumVersion", self.minimum_version.as_ref()),
        ];
        for (key, version) in versions {
            if let Some(version) = version.filter(|version| !is_version(version)) {
                let expected = "expected 1 to 64 letters, digits, `.`, `~`, `^` and `-`";
                return refuse(key, format!("{version:?}: {expected}"));
            }
        }
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&self.architecture.len()) || !self.architecture.bytes().all(word) {
            let found = &self.architecture;
            return refuse("architecture", format!("{found:?}: expected \"x86-64\""));
        }
        let sizes = [
            ("root.size", self.root.size, 2 * BLOCK..=ROOT_MAX),
            ("uki.size", self.uki.size, 1..=UKI_MAX),
            ("index.size", self.index.size, 1..=u64::from(INDEX_MAX)),
        ];
        for (key, size, range) in sizes {
            if !range.contains(&size) {
                let (low, high) = (range.start(), range.end());
                return refuse(key, format!("{size}: expected from {low} to {high} bytes"));
            }
        }
        if !self.root.size.is_multiple_of(BLOCK) {
            let size = self.root.size;
            return refuse(
                "root.size",
                format!("{size}: expected whole blocks of 4096"),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        let content = |size, text: &str| Content {
            size,
            sha256: Digest::of(text.as_bytes()),
        };
        Manifest {
            format: FORMAT,
            name: "demo".to_owned(),
            version: "1.0.0".to_owned(),
            source_date: 1_735_689_600,
            architecture: ARCHITECTURE.to_owned(),
            minimum_version: None,
            root: content(8192, "root"),
            uki: content(100, "uki"),
            index: content(20, "index"),
            verity: Verity {
                root_hash: Digest::of(b"hash"),
                salt: Digest::of(b"salt"),
                uuid: Hex([7; 16]),
            },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let some = Manifest {
            minimum_version: Some("0.9~rc1".to_owned()),
            ..manifest()
        };
        for manifest in [manifest(), some] {
            let bytes = manifest.to_bytes().unwrap();
            assert_eq!(Manifest::parse(&bytes), Ok(manifest));
        }
    }

    #[test]
    fn refused() {
        let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
        let cases = [
            ("\"format\": 1", "\"format\": 2", "format 2, expected 1"),
            // Whatever else another format has.
            ("\"format\": 1", "\"format\": 9, \"new\": []", "format 9"),
            ("\"format\": 1", "\"format\": -1", "invalid value"),
            ("\"format\": 1,", "", "missing field `format`"),
            (
                "\"format\": 1",
                "\"format\": 1, \"x\": 1",
                "unknown field `x`",
            ),
            (
                "\"name\": \"demo\"",
                "\"name\": \"../demo\"",
                "cannot name a host",
            ),
            ("\"1.0.0\"", "\"1/0\"", "version: \"1/0\": expected 1 to 64"),
            ("\"1.0.0\"", "\"\"", "version: \"\""),
            ("x86-64", "", "architecture"),
            ("8192", "8193", "whole blocks"),
            ("8192", "4096", "expected from 8192"),
            ("8192", "1000000000000", "root.size"),
            ("\"size\": 100", "\"size\": 0", "uki.size: 0"),
            ("\"size\": 100", "\"size\": 1e3", "invalid type"),
            ("\"size\": 20", "\"size\": 999999999", "index.size"),
            ("\"sha256\": \"", "\"sha256\": \"0", "64 hexadecimal"),
            ("\"uuid\"", "\"uuid\": \"\", \"uuid\"", "hexadecimal"),
        ];
        for (from, to, words) in cases {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = Manifest::parse(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{to}: {error}");
        }
        assert!(Manifest::parse(b"").is_err());
        let deep = "[".repeat(100_000);
        assert!(Manifest::parse(deep.as_bytes()).is_err());
    }
}
