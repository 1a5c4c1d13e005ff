//! Fixed numbers of bytes that are written as hexadecimal digits, SHA-256 digests above all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `N` bytes; as text, in JSON too, `2 * N` hexadecimal digits in lower case and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "&str")]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A SHA-256 digest.
pub type Digest = Hex<32>;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Hex(Sha256::digest(bytes).into())
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("expected {} hexadecimal digits in lower case", 2 * N);
        if text.len() != 2 * N {
            return Err(refusal());
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(refusal()),
        };
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            for half in pair {
                *byte = *byte << 4 | digit(*half)?;
            }
        }
        Ok(Hex(bytes))
    }
}

impl<const N: usize> TryFrom<&str> for Hex<N> {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl<const N: usize> From<Hex<N>> for String {
    fn from(hex: Hex<N>) -> String {
        hex.to_string()
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_and_nothing_else_is_taken() {
        let hex: Hex<2> = "0af9".parse().unwrap();
        assert_eq!((hex, hex.to_string().as_str()), (Hex([10, 249]), "0af9"));
        for bad in ["", "0af", "0af90", "0AF9", "0ag9", "é0a"] {
            let refusal = bad.parse::<Hex<2>>().unwrap_err();
            assert!(refusal.contains("expected 4 hexadecimal"), "{bad}");
        }
        // FIPS 180-2, appendix B.1.
        assert!(
            Digest::of(b"abc")
                .to_string()
                .starts_with("ba7816bf8f01cfea4141")
        );
    }
}
