//! Names of files: of bundles, and in the directory that a web server serves.

use crate::Digest;

/// The bundle of a version: `demo-1.0.0.orlop`.
pub fn bundle_name(name: &str, version: &str) -> String {
    format!("{name}-{version}.orlop")
}

/// The head of a version, as published: `demo-1.0.0.head`.
pub fn head_name(name: &str, version: &str) -> String {
    format!("{name}-{version}.head")
}

/// The head of the newest version, as published: `demo.head`.
pub fn newest_name(name: &str) -> String {
    format!("{name}.head")
}

/// A chunk, as published: `chunks/ab/<sha256>.zst`. The digest is that of the chunk itself; how it
/// was compressed may differ from one publication to the next.
pub fn chunk_path(digest: &Digest) -> String {
    let digits = digest.to_string();
    format!("chunks/{}/{digits}.zst", &digits[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(bundle_name("demo", "1.0~rc1"), "demo-1.0~rc1.orlop");
        assert_eq!(head_name("demo", "1.0"), "demo-1.0.head");
        assert_eq!(newest_name("demo"), "demo.head");
        let path = chunk_path(&Digest::of(b"abc"));
        assert!(
            path.starts_with("chunks/ba/ba7816bf") && path.ends_with("15ad.zst"),
            "{path}"
        );
    }
}
