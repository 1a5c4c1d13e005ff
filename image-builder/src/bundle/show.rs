//! `orlop-image inspect` of a bundle, or of a published head.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use orlop_bundle::{Chunks, Content, Head, Index, MAGIC};

/// A bundle that was read whole.
#[derive(Debug)]
pub struct Shown {
    /// Its head.
    pub head: Head,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Bytes of all of it.
    pub bytes: u64,
}

/// Whether the file at `path` begins as a bundle does.
pub fn is_bundle(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == MAGIC
}

/// Reads and checks the bundle, or the published head, at `path`: signatures
/// (but not whether anyone trusts them), index, and every chunk that is there.
///
/// # Errors
/// A file that cannot be read, or is not what it should be.
pub fn read(path: &Path) -> Result<Shown> {
    let shown = || path.display().to_string();
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let bytes = file.metadata().with_context(shown)?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    let head = Head::read(&mut input).with_context(shown)?;
    head.check_signatures().with_context(shown)?;
    let head_bytes = head.encode().len() as u64;
    if bytes != head_bytes || path.extension().is_some_and(|ending| ending == "orlop") {
        for chunk in Chunks::new(head.index(), input) {
            chunk.with_context(shown)?;
        }
    }
    Ok(Shown {
        head,
        head_bytes,
        bytes,
    })
}

/// Prints what is in the bundle at `path`; and, with the bundle or head of
/// another version, what an update from that moves.
///
/// # Errors
/// As [`read`].
pub fn show(path: &Path, against: Option<&Path>) -> Result<()> {
    let found = read(path)?;
    let (head, manifest) = (&found.head, found.head.manifest());
    let row = |name: &str, text: String| println!("  {name:<16}{text}");
    println!(
        "{} {}, {}",
        manifest.name, manifest.version, manifest.architecture
    );
    let time = i64::try_from(manifest.source_date).unwrap_or(i64::MAX);
    if let Ok(time) = Timestamp::from_second(time) {
        row("files of", time.to_string());
    }
    row(
        "updates",
        match &manifest.minimum_version {
            Some(minimum) => format!("{minimum} and newer"),
            None => "any version".to_owned(),
        },
    );
    for key in head.signatures().signers() {
        row("signed by", key.to_string());
    }
    for endorsement in head.signatures().endorsements(&manifest.name) {
        let (key, by) = (endorsement.key, endorsement.by);
        row("endorsed", format!("ed25519:{key}"));
        row("  by", format!("ed25519:{by}"));
    }
    let content = |c: Content| format!("{:>10}, SHA-256 {}", mib(c.size), c.sha256);
    row("root", content(manifest.root));
    row("UKI", content(manifest.uki));
    row("root hash", manifest.verity.root_hash.to_string());
    let all = head.index().missing_from(&Index::default());
    let chunks = format!("{}, {} compressed", mib(all.size), mib(all.compressed));
    row("chunks", format!("{:>10}, {chunks}", all.chunks));
    row("head", format!("{:>10}", mib(found.head_bytes)));
    row("file", format!("{:>10}", mib(found.bytes)));
    match found.bytes == found.head_bytes {
        true => println!("signatures and index are good; there are no chunks in this file"),
        false => println!("signatures, index and chunks are good"),
    }
    match against {
        Some(old) => show_missing(&found, old),
        None => Ok(()),
    }
}

fn show_missing(found: &Shown, old: &Path) -> Result<()> {
    let old = read(old)?;
    let missing = found.head.index().missing_from(old.head.index());
    let moved = missing.compressed + found.head_bytes;
    let all = found.head.index().missing_from(&Index::default());
    let whole = all.compressed + found.head_bytes;
    println!(
        "an update from {} moves {} chunks, with the head {} ({} bytes), {:.2} % of {}",
        old.head.manifest().version,
        missing.chunks,
        mib(moved),
        moved,
        moved as f64 * 100.0 / whole as f64,
        mib(whole)
    );
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
