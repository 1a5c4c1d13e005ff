//! Bundles to send.

use std::collections::BTreeSet;
use std::path::PathBuf;

use orlop_bundle::chunk::SIZES;
use orlop_bundle::{
    ARCHITECTURE, Digest, FORMAT, Head, Hex, Manifest, Packer, Part, SecretKey, Signatures, Verity,
};
use tempfile::TempDir;

/// A bundle in a directory of its own.
pub(crate) struct Bundle {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: Head,
}

impl Bundle {
    /// One of version 2.0, of some MiB in several requests.
    pub(crate) fn new() -> Self {
        Self::signed_by(&[SecretKey::from_seed(&[1; 32])])
    }

    pub(crate) fn signed_by(keys: &[SecretKey]) -> Self {
        let mut packer = Packer::with(Vec::new(), SIZES, 1).unwrap();
        let root = packer.add(Part::Root, noise(1 << 22).as_slice()).unwrap();
        let uki = packer.add(Part::Uki, [8; 100].as_slice()).unwrap();
        let (index, chunks) = packer.finish();
        let manifest = Manifest {
            format: FORMAT,
            name: "demo".to_owned(),
            version: "2.0".to_owned(),
            source_date: 0,
            architecture: ARCHITECTURE.to_owned(),
            minimum_version: None,
            root,
            uki,
            index: uki,
            verity: Verity {
                root_hash: Digest::of(b"hash"),
                salt: Digest::of(b"salt"),
                uuid: Hex([7; 16]),
            },
        };
        let head = Head::new(manifest, index, |bytes| Signatures::sign(bytes, keys, &[])).unwrap();
        let bytes = [head.encode(), chunks].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo-2.0.orlop");
        std::fs::write(&path, &bytes).unwrap();
        Self {
            dir,
            path,
            bytes,
            head,
        }
    }

    /// Another file beside it.
    pub(crate) fn beside(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("other.orlop");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Whether these are all of its chunks.
    pub(crate) fn is_all(&self, numbers: &[u32]) -> bool {
        let different: BTreeSet<u32> = numbers.iter().copied().collect();
        different.into_iter().eq(0..self.chunks())
    }

    /// Bytes of those of these chunks that are not there for the first time.
    pub(crate) fn twice(&self, numbers: &[u32]) -> usize {
        let mut seen = BTreeSet::new();
        let again = numbers.iter().filter(|number| !seen.insert(**number));
        let entries = self.head.index().entries();
        again
            .map(|number| entries[*number as usize].compressed as usize)
            .sum()
    }

    /// How many chunks it has.
    pub(crate) fn chunks(&self) -> u32 {
        u32::try_from(self.head.index().entries().len()).unwrap()
    }
}

/// Bytes that look random and are always the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}
