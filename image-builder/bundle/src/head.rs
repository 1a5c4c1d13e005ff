//! The head of a bundle: all of it but the chunks.
//!
//! ```text
//! 8 bytes  magic
//! u32      format: 1
//! u32 u32 u32  bytes of manifest, signatures and index
//! manifest, signatures, index
//! ```

use std::io::{self, Read};

use orlop_unit::UpdateKey;

use crate::manifest::{INDEX_MAX, MANIFEST_MAX};
use crate::signature::SIGNATURES_MAX;
use crate::{
    BundleError, Content, Digest, FORMAT, Index, Manifest, Part, SignatureError, Signatures,
};

/// The first bytes of a bundle: not text, and damaged by whatever takes it for text.
pub const MAGIC: [u8; 8] = *b"\x8aORLOP\r\n";
const PREFIX_BYTES: usize = 24;

/// A bundle's head. What it says is only to be believed once it is [`Trusted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    manifest: Manifest,
    /// As it was signed.
    manifest_bytes: Vec<u8>,
    signatures: Signatures,
    index: Index,
}

/// A head for the host that asks, which a key of the host's stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    head: Head,
    signers: Vec<UpdateKey>,
}

impl Trusted {
    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The head, without who stands for it.
    pub fn into_head(self) -> Head {
        self.head
    }

    /// The trusted keys that signed it; at least one.
    pub fn signers(&self) -> &[UpdateKey] {
        &self.signers
    }
}

impl Head {
    /// The head for what was packed. `sign` is given the manifest's bytes.
    ///
    /// # Errors
    /// A manifest with values that cannot be; an index that is too large or not of its sizes;
    /// whatever `sign` fails with.
    pub fn new(
        manifest: Manifest,
        index: Index,
        sign: impl FnOnce(&[u8]) -> Result<Signatures, BundleError>,
    ) -> Result<Self, BundleError> {
        let bytes = index.encode();
        bounded("index", bytes.len() as u64, INDEX_MAX)?;
        let manifest = Manifest {
            index: content(&bytes),
            ..manifest
        };
        let manifest_bytes = manifest.to_bytes()?;
        index.check()?;
        check_sizes(&manifest, &index)?;
        Ok(Self {
            signatures: sign(&manifest_bytes)?,
            manifest,
            manifest_bytes,
            index,
        })
    }

    /// Reads a head from the start of a bundle, or of a published head. Whether it is signed is not
    /// looked at; that the index is the manifest's is.
    ///
    /// # Errors
    /// What is no head, is cut off, larger than heads are, or contradicts itself.
    pub fn read(input: &mut impl Read) -> Result<Self, BundleError> {
        let mut prefix = [0; PREFIX_BYTES];
        fill(input, &mut prefix, "the head")?;
        if prefix[..8] != MAGIC {
            return Err(BundleError::Foreign);
        }
        let [format, manifest, signatures, index] = [8, 12, 16, 20].map(|at| {
            u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]])
        });
        if format != FORMAT {
            return Err(BundleError::Format(format));
        }
        let manifest_bytes = take(input, "manifest", manifest, MANIFEST_MAX)?;
        let signatures = take(input, "signatures", signatures, SIGNATURES_MAX)?;
        let index = take(input, "index", index, INDEX_MAX)?;
        let manifest = Manifest::parse(&manifest_bytes)?;
        if content(&index) != manifest.index {
            return Err(BundleError::Index("not the one of the manifest"));
        }
        let index = Index::decode(&index)?;
        check_sizes(&manifest, &index)?;
        Ok(Self {
            signatures: Signatures::decode(&signatures)?,
            manifest,
            manifest_bytes,
            index,
        })
    }

    /// The head as it stands in a bundle, byte for byte.
    pub fn encode(&self) -> Vec<u8> {
        let (signatures, index) = (self.signatures.encode(), self.index.encode());
        let lengths = [&self.manifest_bytes, &signatures, &index].map(|part| part.len() as u32);
        let mut bytes = MAGIC.to_vec();
        for number in [FORMAT].iter().chain(&lengths) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for part in [&self.manifest_bytes, &signatures, &index] {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The signatures.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Checks that every signature and endorsement holds, whoever made it.
    ///
    /// # Errors
    /// No signature, or one that does not hold.
    pub fn check_signatures(&self) -> Result<(), SignatureError> {
        self.signatures
            .check(&self.manifest_bytes, &self.manifest.name)
    }

    /// Checks that a host that is named `name` and has the keys `trusted` can believe this head,
    /// and that it is meant.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(self, name: &str, trusted: &[UpdateKey]) -> Result<Trusted, SignatureError> {
        if self.manifest.name != name {
            return Err(SignatureError::OtherName {
                bundle: self.manifest.name,
                host: name.to_owned(),
            });
        }
        let signers = self
            .signatures
            .verify(&self.manifest_bytes, name, trusted)?;
        Ok(Trusted {
            head: self,
            signers,
        })
    }
}

fn content(bytes: &[u8]) -> Content {
    Content {
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
    }
}

fn check_sizes(manifest: &Manifest, index: &Index) -> Result<(), BundleError> {
    let parts = [(Part::Root, manifest.root), (Part::Uki, manifest.uki)];
    let other = |(part, content): &(Part, Content)| index.part_size(*part) != content.size;
    match parts.iter().any(other) {
        true => Err(BundleError::Index("of other sizes than the manifest's")),
        false => Ok(()),
    }
}

fn bounded(what: &'static str, found: u64, most: u32) -> Result<(), BundleError> {
    let most = u64::from(most);
    match found > most {
        true => Err(BundleError::TooLarge { what, found, most }),
        false => Ok(()),
    }
}

/// A part of the head; nothing is allocated for one that claims too much.
fn take(
    input: &mut impl Read,
    what: &'static str,
    len: u32,
    most: u32,
) -> Result<Vec<u8>, BundleError> {
    bounded(what, u64::from(len), most)?;
    let mut bytes = vec![0; len as usize];
    fill(input, &mut bytes, what)?;
    Ok(bytes)
}

pub(crate) fn fill(
    input: &mut impl Read,
    bytes: &mut [u8],
    what: &'static str,
) -> Result<(), BundleError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Cut(what),
        _ => BundleError::Read(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;
    use crate::{Packer, SecretKey};

    fn head() -> Head {
        let mut packer = Packer::new(io::sink()).unwrap();
        let root = packer.add(Part::Root, [7; 8192].as_slice()).unwrap();
        let uki = packer.add(Part::Uki, [8; 100].as_slice()).unwrap();
        let manifest = Manifest {
            root,
            uki,
            ..manifest()
        };
        let keys = [SecretKey::from_seed(&[1; 32])];
        let sign = |bytes: &[u8]| Signatures::sign(bytes, &keys, &[]);
        Head::new(manifest, packer.finish().0, sign).unwrap()
    }

    #[test]
    fn an_index_of_other_sizes_than_the_manifests_is_refused() {
        let good = head();
        let read = |head: &Head| Head::read(&mut head.encode().as_slice());
        assert_eq!(read(&good).unwrap(), good);
        for (root, uki) in [(12288, 100), (8192, 101)] {
            let mut bad = good.clone();
            bad.manifest.root.size = root;
            bad.manifest.uki.size = uki;
            bad.manifest_bytes = bad.manifest.to_bytes().unwrap();
            let error = read(&bad).unwrap_err().to_string();
            assert!(error.contains("of other sizes"), "{error}");
            let made = Head::new(bad.manifest, bad.index, |_| Ok(Signatures::default()));
            assert!(made.is_err());
        }
    }

    #[test]
    fn nothing_is_read_of_a_part_that_claims_too_much() {
        let bytes = head().encode();
        for (at, most) in [(12, MANIFEST_MAX), (16, SIGNATURES_MAX), (20, INDEX_MAX)] {
            let mut huge = bytes.clone();
            huge[at..at + 4].copy_from_slice(&(most + 1).to_le_bytes());
            let error = Head::read(&mut huge.as_slice()).unwrap_err();
            assert!(matches!(error, BundleError::TooLarge { .. }), "{error}");
        }
        let mut other = bytes;
        other[8] = 2;
        let error = Head::read(&mut other.as_slice()).unwrap_err();
        assert!(matches!(error, BundleError::Format(2)), "{error}");
    }
}
