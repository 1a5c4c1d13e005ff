//! The public keys that update bundles are signed with, as text.

use std::fmt;
use std::str::FromStr;

use crate::expected::Expected;

/// What the text begins with: the only kind of key that there is.
const KIND: &str = "ed25519:";

/// An ed25519 public key: `ed25519:` and 64 hexadecimal digits, as `orlop-image keygen` prints it.
///
/// Only the form is looked at here. Whether the bytes are a point on the curve is for whoever
/// computes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateKey(pub [u8; 32]);

impl FromStr for UpdateKey {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let refusal =
            |message: &str| Expected::new(message).help("as `orlop-image keygen FILE` prints it");
        if text.contains("PRIVATE KEY") {
            return Err(refusal("expected a public key, found a private one"));
        }
        let digits = text
            .strip_prefix(KIND)
            .ok_or_else(|| refusal("expected \"ed25519:\" and 64 hexadecimal digits"))?;
        if digits.len() != 64 {
            let found = digits.chars().count();
            return Err(refusal(&format!(
                "expected 64 hexadecimal digits after \"ed25519:\", found {found} characters"
            )));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = pair.iter().try_fold(0, |high, digit| {
                let low = char::from(*digit).to_digit(16).ok_or_else(|| {
                    refusal("expected only hexadecimal digits (0-9, a-f) after \"ed25519:\"")
                })?;
                Ok(high << 4 | low as u8)
            })?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KIND)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let text = format!("ed25519:00ff{}", "0a".repeat(30));
        let key: UpdateKey = text.parse().unwrap();
        assert_eq!(key.0[..3], [0, 255, 10]);
        assert_eq!(key.to_string(), text);
        assert_eq!(text.replace("ff", "FF").parse(), Ok(key));
        let bad = [
            ("", "expected \"ed25519:\""),
            ("rsa:00", "expected \"ed25519:\""),
            (&text[8..], "expected \"ed25519:\""),
            (&text[..70], "found 62 characters"),
            (&format!("{text}0"), "found 65 characters"),
            (&text.replace("ff", "fg"), "only hexadecimal"),
            (&text.replace("ff", "é"), "only hexadecimal"),
            ("-----BEGIN PRIVATE KEY-----", "found a private one"),
        ];
        for (text, message) in bad {
            let refusal = text.parse::<UpdateKey>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
    }
}
