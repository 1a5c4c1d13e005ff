//! Fingerprints of certificates, as a host's console shows them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The SHA-256 of a certificate's DER bytes, shown as `SHA256:<64 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate given as DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// A text that is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a fingerprint: expected SHA256: and 64 hexadecimal digits")]
pub struct FingerprintError(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SHA256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes upper and lower case, with or without the prefix, and colons
    /// between bytes as openssl prints them.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let fail = || FingerprintError(text.chars().take(100).collect());
        let digits = match text.trim().split_at_checked(7) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("sha256:") => rest,
            Some(_) | None => text.trim(),
        };
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return Err(fail());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(fail);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| fail())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_and_openssl_write() {
        let print = Fingerprint::of(b"certificate");
        let shown = print.to_string();
        let hex = &shown[7..];
        let colons: Vec<&str> = (0..32).map(|at| &hex[at * 2..at * 2 + 2]).collect();
        for text in [
            shown.clone(),
            hex.to_uppercase(),
            colons.join(":"),
            format!(" {shown}\n"),
        ] {
            assert_eq!(text.parse::<Fingerprint>().unwrap(), print, "{text:?}");
        }
        for text in [
            "",
            "SHA256:",
            "SHA256:00",
            &shown[..70],
            &format!("{shown}0"),
            "é",
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text:?}");
        }
    }
}
