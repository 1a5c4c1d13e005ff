//! What a unified kernel image says: whether systemd-boot lists it, and which root it leads to.

use std::fmt;

use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a file's content.
pub type Digest = [u8; 32];

/// SHA-256 of `content`.
pub(crate) fn digest(content: &[u8]) -> Digest {
    Sha256::digest(content).into()
}

/// Why an image is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// It is no image.
    #[error("not a unified kernel image: {0}")]
    Format(String),
    /// It leads nowhere.
    #[error("its command line has no orlop.root= with 64 hexadecimal digits")]
    NoRoot,
}

/// One of the two versions: the image that it boots from, and the root that this leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The digest of its unified kernel image.
    pub uki: Digest,
    /// Its root hash.
    pub root: [u8; 32],
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uki, root) = (hex(&self.uki), hex(&self.root));
        write!(f, "Version {{ uki: {uki}, root: {root} }}")
    }
}

impl Version {
    /// The version that boots from this unified kernel image.
    ///
    /// # Errors
    /// It is no such image, or names no root.
    pub fn of_uki(content: &[u8]) -> Result<Version, UkiError> {
        let line = section(content, ".cmdline").map_err(UkiError::Format)?;
        let line = String::from_utf8_lossy(line);
        let words = line.trim_end_matches('\0').split_whitespace();
        // The last counts, as for the kernel and for PID 1.
        let mut root = words.filter_map(|word| word.strip_prefix("orlop.root="));
        let root = root
            .next_back()
            .and_then(parse_root)
            .ok_or(UkiError::NoRoot)?;
        let uki = digest(content);
        Ok(Version { uki, root })
    }
}

/// Whether systemd-boot lists this file as an entry: it must be an image that says what it is.
pub(crate) fn is_listed(content: &[u8]) -> bool {
    section(content, ".osrel").is_ok_and(|release| !release.is_empty())
}

fn section<'c>(content: &'c [u8], name: &str) -> Result<&'c [u8], String> {
    let image = PeFile64::parse(content).map_err(|error| error.to_string())?;
    let found = image.section_by_name(name);
    let found = found.ok_or_else(|| format!("it has no section {name}"))?;
    found.data().map_err(|error| error.to_string())
}

fn parse_root(text: &str) -> Option<[u8; 32]> {
    let mut root = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in root.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(root)
}

/// The first digits of a hash, enough to tell it from others in a message.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let first = bytes.iter().take(6);
    first.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::uki;
    use proptest::prelude::*;

    #[test]
    fn the_command_line_names_the_root() {
        let root = "ab".repeat(32);
        let image = uki(
            &format!("orlop.root={} orlop.root={root} quiet\0", "cd".repeat(32)),
            0,
        );
        let version = Version::of_uki(&image).unwrap();
        assert_eq!((version.root, version.uki), ([0xab; 32], digest(&image)));
        assert!(is_listed(&image));
        for bad in [uki("quiet", 0), uki("orlop.root=ab", 0)] {
            assert_eq!(Version::of_uki(&bad), Err(UkiError::NoRoot));
        }
        for other in [&b""[..], &[0; 4096], &image[..60]] {
            assert!(matches!(Version::of_uki(other), Err(UkiError::Format(_))));
            assert!(!is_listed(other));
        }
    }

    proptest! {
        #[test]
        fn a_changed_image_never_panics(
            changes in prop::collection::vec((0_usize..900, any::<u8>()), 1..8), length in 0_usize..1200,
        ) {
            let mut image = uki(&format!("orlop.root={}", "ab".repeat(32)), 0);
            for (at, value) in changes {
                image[at] = value;
            }
            image.truncate(length);
            let _ = (Version::of_uki(&image), is_listed(&image));
        }
    }
}
