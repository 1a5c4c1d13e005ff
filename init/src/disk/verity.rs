//! The verity superblock, and which slot a root hash belongs to.
//!
//! Format: `veritysetup format` (cryptsetup's wiki, DMVerity), superblock
//! version 1, hash type 1, SHA-256, blocks of 4096 bytes.

use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 4096;
const MAX_SALT: usize = 256;

/// The hash that a whole root hashes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RootHash([u8; 32]);

impl RootHash {
    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// What the superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// How many blocks of 4096 bytes the root has.
    pub data_blocks: u64,
    /// What each block is hashed with.
    pub salt: Vec<u8>,
}

/// Why a verity partition is not the one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It holds no superblock (an empty slot).
    #[error("is empty")]
    Empty,
    /// It holds another kind of superblock.
    #[error("has {what} {got}: expected {expected}")]
    Unsupported {
        /// Which field.
        what: &'static str,
        /// What it says.
        got: String,
        /// What it should say.
        expected: &'static str,
    },
    /// Its tree belongs to another root.
    #[error("holds root {0}")]
    OtherRoot(RootHash),
}

impl Superblock {
    /// Parses the first 512 bytes of a verity partition.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Unsupported`].
    pub fn parse(bytes: &[u8; 512]) -> Result<Self, Error> {
        if &bytes[..8] != b"verity\0\0" {
            return Err(Error::Empty);
        }
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let fields = [
            ("version", number(8), 1, "1"),
            ("hash type", number(12), 1, "1"),
            ("data block size", number(64), 4096, "4096"),
            ("hash block size", number(68), 4096, "4096"),
        ];
        for (what, got, want, expected) in fields {
            if got != want {
                return Err(Error::Unsupported {
                    what,
                    got: got.to_string(),
                    expected,
                });
            }
        }
        let algorithm = bytes[32..64].split(|b| *b == 0).next().unwrap_or_default();
        if algorithm != b"sha256" {
            let got = String::from_utf8_lossy(algorithm).into_owned();
            return Err(Error::Unsupported {
                what: "algorithm",
                got,
                expected: "sha256",
            });
        }
        let mut count = [0; 8];
        count.copy_from_slice(&bytes[72..80]);
        let data_blocks = u64::from_le_bytes(count);
        // One block has no tree; and the product below must fit.
        if !(2..=u64::MAX / BLOCK).contains(&data_blocks) {
            let got = data_blocks.to_string();
            return Err(Error::Unsupported {
                what: "block count",
                got,
                expected: "2 or more",
            });
        }
        let salt_size = usize::from(u16::from_le_bytes([bytes[80], bytes[81]]));
        if salt_size > MAX_SALT {
            let got = salt_size.to_string();
            return Err(Error::Unsupported {
                what: "salt size",
                got,
                expected: "at most 256",
            });
        }
        Ok(Self {
            data_blocks,
            salt: bytes[88..88 + salt_size].to_vec(),
        })
    }

    /// The root's length in sectors of 512 bytes.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.data_blocks * (BLOCK / 512)
    }

    /// The device-mapper parameters for a root on `data` with its tree on
    /// `hashes`, by the kernel's admin-guide/device-mapper/verity. The tree
    /// begins in the block after the superblock.
    #[must_use]
    pub fn parameters(&self, data: &str, hashes: &str, root: &RootHash) -> String {
        let mut salt = String::new();
        if self.salt.is_empty() {
            salt.push('-');
        } else {
            // Writing to a String cannot fail.
            let _ = hex(&self.salt, &mut salt);
        }
        let blocks = self.data_blocks;
        format!("1 {data} {hashes} {BLOCK} {BLOCK} {blocks} 1 sha256 {root} {salt}")
    }
}

/// Checks that the tree on the verity partition `file` hashes to `root`.
///
/// Only the top block is read: the kernel checks the rest as it is used.
///
/// # Errors
/// [`Error`], saying what it holds instead.
pub fn open(file: &File, root: &RootHash) -> Result<Superblock, Error> {
    let mut first = [0; 512];
    file.read_exact_at(&mut first, 0)?;
    let superblock = Superblock::parse(&first)?;
    let mut top = vec![0; BLOCK as usize];
    file.read_exact_at(&mut top, BLOCK)?;
    let hash = Sha256::new()
        .chain_update(&superblock.salt)
        .chain_update(&top)
        .finalize();
    let found = RootHash(hash.into());
    if found == *root {
        Ok(superblock)
    } else {
        Err(Error::OtherRoot(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// Formats `blocks` blocks with veritysetup; gives the hash file and its root.
    fn formatted(dir: &std::path::Path, blocks: usize, salt: &str) -> (File, RootHash) {
        let (data, hashes) = (dir.join("data"), dir.join("hashes"));
        std::fs::write(&data, vec![0x5a; blocks * 4096]).unwrap();
        let out = Command::new("/sbin/veritysetup")
            .arg(format!("--salt={salt}"))
            .arg("format")
            .args([&data, &hashes])
            .output()
            .expect("veritysetup (Debian package cryptsetup-bin)");
        let text = String::from_utf8(out.stdout).unwrap();
        let line = text.lines().find(|l| l.starts_with("Root hash:")).unwrap();
        let root = RootHash::parse(line.split_whitespace().last().unwrap()).unwrap();
        (File::open(hashes).unwrap(), root)
    }

    #[test]
    fn what_veritysetup_formats_is_recognised() {
        for (blocks, salt) in [
            (2, "-"),
            (3, "aabb"),
            (128, "00ff"),
            (300, "77"),
            (20_000, "1234"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (file, root) = formatted(dir.path(), blocks, salt);
            let superblock = open(&file, &root).unwrap();
            assert_eq!(superblock.data_blocks, blocks as u64);
            let line = superblock.parameters("254:1", "254:2", &root);
            let want = format!("1 254:1 254:2 4096 4096 {blocks} 1 sha256 {root} {salt}");
            assert_eq!(line, want);
            let other = RootHash::parse(&"ab".repeat(32)).unwrap();
            assert!(matches!(open(&file, &other), Err(Error::OtherRoot(found)) if found == root));
        }
    }

    #[test]
    fn an_empty_slot_says_so() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let root = RootHash::parse(&"ab".repeat(32)).unwrap();
        assert!(matches!(open(&file, &root), Err(Error::Empty)));
    }

    #[test]
    fn hashes_are_64_digits() {
        assert!(RootHash::parse(&"aB".repeat(32)).is_some());
        for bad in [
            "",
            "ab",
            &"zz".repeat(32),
            &"ab".repeat(33),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert!(RootHash::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 512), sign in any::<bool>()) {
            if sign {
                bytes[..8].copy_from_slice(b"verity\0\0");
            }
            let bytes: [u8; 512] = bytes.try_into().unwrap();
            let _ = Superblock::parse(&bytes).map(|s| s.sectors());
        }
    }
}
