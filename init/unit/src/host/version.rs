//! Versions of host images, as text.

use crate::expected::Expected;

/// The most characters that a version has: it is part of file names.
const MAX_CHARS: usize = 64;

/// Whether `text` can be the version of a host image: 1 to 64 of `A-Z a-z 0-9 . ~ ^ -`, the first a
/// letter or digit.
pub fn is_version(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'~' | b'^' | b'-');
    let first = text.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphanumeric())
        && text.len() <= MAX_CHARS
        && text.bytes().all(inner)
}

pub(super) fn checked(text: &str) -> Result<String, Expected> {
    if is_version(text) {
        return Ok(text.to_owned());
    }
    Err(
        Expected::new("expected 1 to 64 letters, digits, `.`, `~`, `^` and `-`")
            .help("for example \"1.0.0\"; `_` and `+` separate the parts of a boot entry's name"),
    )
}
