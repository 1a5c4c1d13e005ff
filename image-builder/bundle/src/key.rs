//! Keys: ed25519 (RFC 8032), verified strictly.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use orlop_unit::UpdateKey;
use thiserror::Error;

/// Why a key is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No point of the curve, or one for which signatures can be made without a private key.
    #[error("{0} is no usable ed25519 public key; `orlop-image keygen FILE` makes one")]
    Public(UpdateKey),
    /// Not a private key that we can read.
    #[error(
        "expected an ed25519 private key, PEM in PKCS#8, as `orlop-image keygen FILE` or \
         `openssl genpkey -algorithm ed25519` makes it: {0}"
    )]
    Private(String),
}

/// A public key that signatures can be checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Its bytes, and its form as text.
    pub fn id(&self) -> UpdateKey {
        UpdateKey(self.0.to_bytes())
    }

    /// Whether `signature` is this key's, of `message`. Strictly: there is one signature of a
    /// message and a key, and no other bytes are taken for it.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl TryFrom<UpdateKey> for PublicKey {
    type Error = KeyError;

    fn try_from(key: UpdateKey) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(&key.0) {
            Ok(point) if !point.is_weak() => Ok(Self(point)),
            Ok(_) | Err(_) => Err(KeyError::Public(key)),
        }
    }
}

/// A private key; its own bytes are wiped when it is dropped, not those that it was read from.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads PEM (PKCS#8, RFC 8410).
    ///
    /// # Errors
    /// What is not PEM, or holds no ed25519 private key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8_pem(text.trim());
        key.map(Self)
            .map_err(|error| KeyError::Private(error.to_string()))
    }

    /// The key as PEM, which OpenSSL reads.
    ///
    /// # Errors
    /// None that are known: the encoder could refuse.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        // Without the public key in it: OpenSSL 3.0 refuses the form (RFC 5958) that has one.
        let bare = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = bare.to_pkcs8_pem(LineEnding::LF);
        pem.map(|text| text.to_string())
            .map_err(|error| KeyError::Private(error.to_string()))
    }

    /// The public key of it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Says which key it is, and not what it is.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3, and the public key that its section 10.1 has for it.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn the_key_of_rfc_8410_is_read_and_written() {
        let key = SecretKey::from_pem(PEM).unwrap();
        assert_eq!(key.public().id().to_string(), format!("ed25519:{PUBLIC}"));
        assert_eq!(key.to_pem().unwrap(), PEM);
        assert!(!format!("{key:?}").contains("d4ee72db"));
        for bad in [
            "",
            "ed25519:00",
            &PEM.replace("MC4", "MC5"),
            &PEM[..60],
            // Of X25519, in all else the same.
            &PEM.replace("BQYDK2Vw", "BQYDK2Vu"),
        ] {
            let error = SecretKey::from_pem(bad).unwrap_err().to_string();
            assert!(error.contains("orlop-image keygen"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_first_signatures_of_rfc_8032() {
        // Section 7.1, tests 1 and 2: seed, message, first bytes of the signature.
        let cases: [(&str, &[u8], &str); 2] = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                b"",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                &[0x72],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            ),
        ];
        for (seed, message, signature) in cases {
            let key = SecretKey::from_seed(&seed.parse::<crate::Hex<32>>().unwrap().0);
            let made = key.sign(message);
            assert!(crate::Hex(made).to_string().starts_with(signature));
            assert!(key.public().has_signed(message, &made));
            assert!(!key.public().has_signed(b"other", &made));
        }
    }

    #[test]
    fn keys_that_anyone_could_sign_for_are_refused() {
        let zero = UpdateKey([0; 32]);
        assert_eq!(PublicKey::try_from(zero), Err(KeyError::Public(zero)));
        let mut one = [0; 32];
        one[0] = 1;
        assert!(PublicKey::try_from(UpdateKey(one)).is_err());
        let key = SecretKey::from_seed(&[3; 32]).public();
        assert_eq!(PublicKey::try_from(key.id()), Ok(key));
    }
}
