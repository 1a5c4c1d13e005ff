//! Names: of units (which are host names on the bridge) and of volumes and secrets (which are file
//! names on the state partition).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// The longest DNS label (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// The name of a unit: its file's name without `.toml`, and its host name on the bridge.
///
/// A DNS label in lower case that begins with a letter (RFC 1035, section 2.3.1): a name of digits
/// alone would be read as an address by half of all programs. `localhost` is taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(String);

impl UnitName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The unit that a file declares: `units/web.toml` declares `web`.
    ///
    /// # Errors
    /// The file's name without `.toml` is not a unit name.
    pub fn of_file(file: &str) -> Result<Self, Expected> {
        let base = file.rsplit('/').next().unwrap_or(file);
        base.strip_suffix(".toml").unwrap_or(base).parse()
    }
}

/// Why `text` is not a DNS label that begins with a letter; `None` when it is one.
pub fn label_problem(text: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > MAX_LABEL {
        Some("it is longer than 63 characters")
    } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Some("it has upper-case letters")
    } else if !text.bytes().all(inner) {
        Some("only a-z, 0-9 and - are allowed")
    } else if !text.as_bytes()[0].is_ascii_lowercase() {
        Some("it must begin with a letter")
    } else if text.ends_with('-') {
        Some("it must not end with -")
    } else {
        None
    }
}

/// Why `text` is not a name for a volume or a secret; `None` when it is one.
///
/// They are names of files: 1 to 64 of `a-z A-Z 0-9 . _ -`, the first a letter or digit.
pub fn volume_name_problem(text: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > 64 {
        Some("it is longer than 64 characters")
    } else if !text.bytes().all(inner) {
        Some("only letters, digits, `.`, `_` and `-` are allowed")
    } else if !text.as_bytes()[0].is_ascii_alphanumeric() {
        Some("it must begin with a letter or digit")
    } else {
        None
    }
}

impl FromStr for UnitName {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let problem = match label_problem(text) {
            None if text == "localhost" => Some("it always means the container itself"),
            other => other,
        };
        match problem {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(Expected::new(format!(
                "{} cannot name a unit: {problem}",
                shown(text)
            ))
            .help("a unit's name is its host name: a-z, 0-9 and -, first a letter")),
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for UnitName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UnitName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unit_names() {
        for good in ["web", "a", "db-1", &"a".repeat(63)] {
            assert_eq!(good.parse::<UnitName>().unwrap().as_str(), good);
        }
        let bad = [
            ("", "empty"),
            ("Web", "upper-case"),
            ("web.db", "only a-z"),
            ("web_db", "only a-z"),
            ("-web", "begin with a letter"),
            ("1", "begin with a letter"),
            ("web-", "end with -"),
            ("../web", "only a-z"),
            ("wéb", "only a-z"),
            ("localhost", "the container itself"),
            (&"a".repeat(64), "longer than 63"),
        ];
        for (text, message) in bad {
            let refusal = text.parse::<UnitName>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
    }

    #[test]
    fn of_file() {
        for file in ["/etc/orlop/units/web.toml", "web.toml", "web"] {
            assert_eq!(UnitName::of_file(file).unwrap().as_str(), "web");
        }
        assert!(UnitName::of_file(".toml").is_err());
        assert!(UnitName::of_file("web.toml.bak").is_err());
    }

    proptest! {
        #[test]
        fn a_volume_name_is_one_plain_file_name(text in "[./a-zA-Z0-9_-]{0,70}") {
            if volume_name_problem(&text).is_none() {
                prop_assert!(!text.contains('/') && text != "." && text != "..");
            }
        }
    }
}
