//! Names of images.
//!
//! Two names mean the same image when they are equal after a missing tag is
//! read as `:latest`. No registry is ever filled in: `nginx` is `nginx:latest`.

use crate::{Error, Result};

/// Longest reference, in bytes.
const LONGEST: usize = 512;

/// Checks a reference and adds `:latest` where it has neither tag nor digest.
///
/// # Errors
/// Something that is no reference: empty, too long, or with characters that a
/// reference cannot hold.
pub fn normalise(reference: &str) -> Result<String> {
    let bad = |why: &str| {
        Err(Error::invalid(
            format!("image reference {reference:?}"),
            why,
        ))
    };
    if reference.is_empty() {
        return bad("is empty; write NAME[:TAG]");
    }
    if reference.len() > LONGEST {
        return bad("is longer than 512 bytes");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    if !reference.chars().all(fits) {
        return bad("holds a character other than letters, digits and `._-/:@+`");
    }
    if reference
        .split('/')
        .any(|part| part.is_empty() || part.starts_with(['.', '-', ':']))
    {
        return bad("has a part that is empty or starts with `.`, `-` or `:`");
    }
    if reference.ends_with([':', '@']) {
        return bad("ends where a tag or digest should follow");
    }
    if has_tag(reference) {
        return Ok(reference.to_owned());
    }
    Ok(format!("{reference}:latest"))
}

/// Whether a tag or digest is there: a colon before the last slash is a port.
fn has_tag(reference: &str) -> bool {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.contains(':') || reference.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_is_latest() {
        for (given, expected) in [
            ("nginx", "nginx:latest"),
            ("localhost/demo:1", "localhost/demo:1"),
            (
                "registry.example.com:5000/shop",
                "registry.example.com:5000/shop:latest",
            ),
            ("shop@sha256:00", "shop@sha256:00"),
        ] {
            assert_eq!(normalise(given).unwrap(), expected);
        }
        for bad in ["", "a b", "a//b", "/a", "../x", "a/../b", "x:", "a\n", "-x"] {
            assert!(normalise(bad).is_err(), "{bad:?}");
        }
    }
}
