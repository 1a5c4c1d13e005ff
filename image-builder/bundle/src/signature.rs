//! Signatures of a manifest, and endorsements: an old key's word that a new one may sign.

use orlop_unit::UpdateKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BundleError, Hex, PublicKey, SecretKey};

/// What is signed begins with one of these, so that no signature of one thing is one of another,
/// in this format or a later one.
const MANIFEST: &[u8] = b"orlop update bundle, format 1: manifest\0";
const ENDORSEMENT: &[u8] = b"orlop update bundle, format 1: endorsement\0";

/// The most signatures, and the most endorsements, that a bundle has.
pub const SIGNERS_MAX: usize = 8;
const SIGNATURE_BYTES: usize = 32 + 64;
const ENDORSEMENT_BYTES: usize = 32 + 32 + 64;
/// Bytes of the largest block of signatures.
pub(crate) const SIGNATURES_MAX: u32 =
    (2 + SIGNERS_MAX * (SIGNATURE_BYTES + ENDORSEMENT_BYTES)) as u32;

/// The word of the key `by` that `key` may sign bundles for hosts named `name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// The host image's name.
    pub name: String,
    /// The old key.
    pub by: Hex<32>,
    /// The new one.
    pub key: Hex<32>,
    /// The old key's signature.
    pub signature: Hex<64>,
}

impl Endorsement {
    /// Endorses `key` with the private key `by`.
    pub fn new(by: &SecretKey, key: &PublicKey, name: &str) -> Self {
        let key = Hex(key.id().0);
        Self {
            name: name.to_owned(),
            by: Hex(by.public().id().0),
            key,
            signature: Hex(by.sign(&endorsed(name, &key))),
        }
    }

    /// Whether it is what its old key signed, for hosts named `name`.
    ///
    /// # Errors
    /// [`SignatureError::Endorsement`].
    pub fn check(&self, name: &str) -> Result<(), SignatureError> {
        let by = PublicKey::try_from(UpdateKey(self.by.0));
        let key = PublicKey::try_from(UpdateKey(self.key.0));
        match (by, key) {
            (Ok(by), Ok(_))
                if self.name == name
                    && by.has_signed(&endorsed(name, &self.key), &self.signature.0) =>
            {
                Ok(())
            }
            _ => Err(SignatureError::Endorsement {
                by: UpdateKey(self.by.0),
                key: UpdateKey(self.key.0),
                name: name.to_owned(),
            }),
        }
    }
}

fn endorsed(name: &str, key: &Hex<32>) -> Vec<u8> {
    // The key has a fixed length, so the name needs none.
    [ENDORSEMENT, &key.0, name.as_bytes()].concat()
}

fn signed(manifest: &[u8]) -> Vec<u8> {
    [MANIFEST, manifest].concat()
}

/// Why a bundle is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Whoever signed it, it is not for this host.
    #[error("the bundle is for hosts named {bundle:?}, this one is {host:?}; build one for it")]
    OtherName {
        /// The bundle's name.
        bundle: String,
        /// The host's.
        host: String,
    },
    /// By nobody.
    #[error("the bundle is not signed; build it with `orlop-image build --sign KEY`")]
    Unsigned,
    /// By none of the keys that are trusted, nor by one that they endorse.
    #[error(
        "the bundle is signed by {}, expected {}; sign it with such a key, or endorse the new key \
         with it (`orlop-image endorse`)",
        list(.signers), trusted_list(.trusted)
    )]
    Unknown {
        /// Whose signatures it has.
        signers: Vec<UpdateKey>,
        /// Whose would do.
        trusted: Vec<UpdateKey>,
    },
    /// Of other bytes.
    #[error(
        "the signature by {0} is not of this manifest: one of them was changed; fetch it again"
    )]
    Signature(UpdateKey),
    /// Of another key, for another host, or invented.
    #[error(
        "the endorsement of {key} by {by} does not hold for hosts named {name:?}; make one with \
         `orlop-image endorse OLD.key NEW --name {name}`"
    )]
    Endorsement {
        /// The old key.
        by: UpdateKey,
        /// The new one.
        key: UpdateKey,
        /// The host image's name.
        name: String,
    },
}

fn list(keys: &[UpdateKey]) -> String {
    let texts: Vec<String> = keys.iter().map(UpdateKey::to_string).collect();
    texts.join(", ")
}

fn trusted_list(keys: &[UpdateKey]) -> String {
    match keys {
        [] => "a key of [update] keys, of which there are none".to_owned(),
        _ => format!("one by {}", list(keys)),
    }
}

/// The signatures of a bundle, each with its key, and the endorsements that come with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    signatures: Vec<(UpdateKey, [u8; 64])>,
    /// Old key, new key, signature; the name is the manifest's.
    endorsements: Vec<(UpdateKey, UpdateKey, [u8; 64])>,
}

impl Signatures {
    /// Signs `manifest` with each of `keys`.
    ///
    /// # Errors
    /// More keys or endorsements than a bundle has room for.
    pub fn sign(
        manifest: &[u8],
        keys: &[SecretKey],
        endorsements: &[Endorsement],
    ) -> Result<Self, BundleError> {
        if keys.len() > SIGNERS_MAX || endorsements.len() > SIGNERS_MAX {
            return Err(BundleError::Signatures("more than 8 keys or endorsements"));
        }
        let message = signed(manifest);
        let sign = |key: &SecretKey| (key.public().id(), key.sign(&message));
        let pack = |e: &Endorsement| (UpdateKey(e.by.0), UpdateKey(e.key.0), e.signature.0);
        Ok(Self {
            signatures: keys.iter().map(sign).collect(),
            endorsements: endorsements.iter().map(pack).collect(),
        })
    }

    /// Whose signatures there are; whether they hold is for [`Signatures::check`].
    pub fn signers(&self) -> Vec<UpdateKey> {
        self.signatures.iter().map(|(key, _)| *key).collect()
    }

    /// The endorsements, for hosts named `name`; whether they hold is for [`Signatures::check`].
    pub fn endorsements(&self, name: &str) -> Vec<Endorsement> {
        let unpack = |(by, key, signature): &(UpdateKey, UpdateKey, [u8; 64])| Endorsement {
            name: name.to_owned(),
            by: Hex(by.0),
            key: Hex(key.0),
            signature: Hex(*signature),
        };
        self.endorsements.iter().map(unpack).collect()
    }

    /// Checks that `manifest` is signed, and that every signature and endorsement is what its own
    /// key made. It says nothing of whether any of the keys is to be trusted.
    ///
    /// # Errors
    /// No signature; one, or an endorsement, that does not hold.
    pub fn check(&self, manifest: &[u8], name: &str) -> Result<(), SignatureError> {
        if self.signatures.is_empty() {
            return Err(SignatureError::Unsigned);
        }
        let message = signed(manifest);
        for (key, signature) in &self.signatures {
            let public = PublicKey::try_from(*key).ok();
            if !public.is_some_and(|public| public.has_signed(&message, signature)) {
                return Err(SignatureError::Signature(*key));
            }
        }
        self.endorsements(name)
            .iter()
            .try_for_each(|endorsement| endorsement.check(name))
    }

    /// Checks, beyond [`Signatures::check`], that one of the signatures is by a key of `trusted`,
    /// or by one that these endorse, directly or by way of others. Gives the keys that are.
    ///
    /// # Errors
    /// As [`Signatures::check`]; and signatures by unknown keys alone.
    pub fn verify(
        &self,
        manifest: &[u8],
        name: &str,
        trusted: &[UpdateKey],
    ) -> Result<Vec<UpdateKey>, SignatureError> {
        self.check(manifest, name)?;
        let mut known = trusted.to_vec();
        // Each round adds a key or is the last; endorsements are few.
        while let Some((_, new, _)) = self
            .endorsements
            .iter()
            .find(|(by, new, _)| known.contains(by) && !known.contains(new))
        {
            known.push(*new);
        }
        let mut signers = self.signers();
        signers.retain(|signer| known.contains(signer));
        if signers.is_empty() {
            return Err(SignatureError::Unknown {
                signers: self.signers(),
                trusted: trusted.to_vec(),
            });
        }
        Ok(signers)
    }

    /// The form in the head: two counts, signatures, endorsements.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.signatures.len() as u8, self.endorsements.len() as u8];
        for (key, signature) in &self.signatures {
            bytes.extend_from_slice(&key.0);
            bytes.extend_from_slice(signature);
        }
        for (by, key, signature) in &self.endorsements {
            bytes.extend_from_slice(&by.0);
            bytes.extend_from_slice(&key.0);
            bytes.extend_from_slice(signature);
        }
        bytes
    }

    /// Reads the form in the head.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let refusal = || BundleError::Signatures("not two counts and as many records");
        let ([signatures, endorsements], records) =
            bytes.split_first_chunk::<2>().ok_or_else(refusal)?;
        let (signatures, endorsements) = (usize::from(*signatures), usize::from(*endorsements));
        let expected = signatures * SIGNATURE_BYTES + endorsements * ENDORSEMENT_BYTES;
        if signatures > SIGNERS_MAX || endorsements > SIGNERS_MAX || records.len() != expected {
            return Err(refusal());
        }
        let (first, second) = records.split_at(signatures * SIGNATURE_BYTES);
        let key = |record: &[u8], at: usize| {
            let mut key = [0; 32];
            key.copy_from_slice(&record[at..at + 32]);
            UpdateKey(key)
        };
        let signature = |record: &[u8]| {
            let mut signature = [0; 64];
            signature.copy_from_slice(&record[record.len() - 64..]);
            signature
        };
        let one = |record: &[u8]| (key(record, 0), signature(record));
        let other = |record: &[u8]| (key(record, 0), key(record, 32), signature(record));
        Ok(Self {
            signatures: first.chunks_exact(SIGNATURE_BYTES).map(one).collect(),
            endorsements: second.chunks_exact(ENDORSEMENT_BYTES).map(other).collect(),
        })
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
