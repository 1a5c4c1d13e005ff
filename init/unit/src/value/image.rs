//! Names of OCI images: `[registry[:port]/]path[:tag][@sha256:digest]`.

use std::fmt;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// The name of an OCI image as a unit writes it, checked against the grammar of the distribution
/// specification; a missing tag stays missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(Expected::new(format!(
                "{} is not an image name: {problem}",
                shown(text)
            ))
            .help("for example \"registry.example.com/shop:4\" or \"localhost/demo:1\"")),
        }
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > 512 {
        return Some("it is longer than 512 characters");
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| !is_sha256(digest)) {
        return Some("expected @sha256: with 64 hexadecimal digits");
    }
    // A `:` after the last `/` begins the tag; one before it belongs to the registry's port.
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[last..].split_once(':') {
        Some((part, tag)) => (&name[..last + part.len()], Some(tag)),
        None => (name, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Some("the tag must be 1 to 128 of A-Z a-z 0-9 _ . - and not begin with . or -");
    }
    let (registry, rest) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        Some(_) | None => (None, path),
    };
    if registry.is_some_and(|registry| !is_registry(registry)) {
        return Some("the registry must be a host name with an optional port");
    }
    if !rest.split('/').all(is_path_part) {
        return Some("each part must be lower-case letters and digits, with . _ - between");
    }
    None
}

fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_tag(tag: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let inner = |b: u8| first(b) || matches!(b, b'.' | b'-');
    tag.len() <= 128 && tag.bytes().next().is_some_and(first) && tag.bytes().all(inner)
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| super::parse_port(port).is_ok())
}

fn is_path_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(|b| word(*b));
    ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| word(*b) || matches!(b, b'.' | b'_' | b'-'))
        && !part.contains("..")
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let digest = format!("busybox@sha256:{}", "0".repeat(64));
        let good = [
            "busybox",
            "localhost/demo:1",
            "registry.example.com/shop:4",
            "registry.example.com:5000/a/b_c/d-e:v1.2",
            "library/redis:7-bookworm",
            &digest,
        ];
        for text in good {
            assert_eq!(
                text.parse::<ImageName>().map(|n| n.to_string()),
                Ok(text.to_owned())
            );
        }
        let bad = [
            ("", "empty"),
            ("Demo", "lower-case"),
            ("localhost/", "lower-case"),
            ("a//b", "lower-case"),
            ("../etc", "host name"),
            ("a/../b", "lower-case"),
            ("demo:", "the tag"),
            ("demo:-x", "the tag"),
            ("demo@sha256:12", "64 hexadecimal"),
            ("example.com:99999/x", "the registry"),
            ("https://example.com/x", "the registry"),
            ("a b", "lower-case"),
        ];
        for (text, message) in bad {
            let refusal = text.parse::<ImageName>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z:/@.\\PC]{0,40}") {
            let _ = text.parse::<ImageName>();
        }
    }
}
