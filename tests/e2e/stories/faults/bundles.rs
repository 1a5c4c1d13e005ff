//! Bundles that a host does not take, as files and from a web server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use orlop_qemu::build;
use orlop_web::Server;

use super::refusals::Host;
use super::versions;
use crate::fixture;
use crate::releases::{self, NAME, Release};
use crate::stories::updates;

/// Where a head has the lengths of its three parts, and where they begin.
const LENGTHS: [usize; 3] = [12, 16, 20];
const PARTS: usize = 24;
/// Pieces of a bundle, at whose ends it is cut.
const CUTS: usize = 16;

/// Each bad one is refused whichever way it comes.
pub(super) fn are_refused(host: &Host, good: &Release) -> Result<()> {
    let folder = fixture::folder("stories/fault-bundles.web")?;
    let server = Server::start(&folder)?;
    let url = format!("http://10.0.2.2:{}", server.port());
    let bytes = std::fs::read(&good.bundle)?;
    let parts = parts(&bytes).context("a good bundle has a head")?;
    let [_, index, _] = parts;
    let changed = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        changed
    };
    let bad = [
        (
            "unknown",
            std::fs::read(by_a_stranger()?)?,
            "expected one by ed25519:",
        ),
        (
            "other",
            std::fs::read(for_others()?)?,
            "for hosts named \"other\"",
        ),
        (
            "old",
            std::fs::read(updates::old()?.bundle)?,
            "is not newer than 1.5.0",
        ),
        // The last bytes of the signature, and a digit of a digest in the manifest.
        ("signature", changed(index - 1), "is not of this manifest"),
        (
            "manifest",
            changed_digit(&bytes, parts)?,
            "is not of this manifest",
        ),
        ("index", changed(index + 8), "index: "),
        (
            "none",
            b"what one gets of a portal instead of a file".to_vec(),
            "no update bundle",
        ),
    ];
    for (name, bytes, expected) in bad {
        let file = folder.join(format!("{name}.orlop"));
        std::fs::write(&file, bytes)?;
        host.refuses(&file.display().to_string(), expected)
            .with_context(|| format!("the file {name}"))?;
        host.refuses(&format!("{url}/{name}.orlop"), expected)
            .with_context(|| format!("{name} from a web server"))?;
        host.is_unharmed()?;
    }
    are_refused_when_cut(host, &bytes, parts, &folder, &url)
}

/// Where signatures, index and chunks begin.
fn parts(bundle: &[u8]) -> Option<[usize; 3]> {
    let mut at = PARTS;
    let mut parts = [0; 3];
    for (part, length) in parts.iter_mut().zip(LENGTHS) {
        let length = bundle.get(length..length + 4)?.try_into().ok()?;
        at += usize::try_from(u32::from_le_bytes(length)).ok()?;
        *part = at;
    }
    Some(parts)
}

/// The bundle with another salt in its manifest, which is as good as the right one.
fn changed_digit(bundle: &[u8], [signatures, ..]: [usize; 3]) -> Result<Vec<u8>> {
    let words = b"\"salt\"";
    let manifest = bundle.get(PARTS..signatures).context("no manifest")?;
    let key = manifest
        .windows(words.len())
        .position(|window| window == words)
        .context("a manifest without a salt")?;
    let value = manifest.get(key + words.len()..).context("cut")?;
    let digit = value
        .iter()
        .position(u8::is_ascii_hexdigit)
        .context("no digit")?;
    let mut changed = bundle.to_vec();
    let at = PARTS + key + words.len() + digit;
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    Ok(changed)
}

fn by_a_stranger() -> Result<PathBuf> {
    let key = fixture::once("stranger.key", |path| {
        let _ = std::fs::remove_file(path);
        build::update_key(path).map(drop)
    })?;
    versions::bundle_for(NAME, "fault-stranger", &key)
}

fn for_others() -> Result<PathBuf> {
    versions::bundle_for("other", "fault-others", &releases::key()?.0)
}

/// Cut anywhere, a bundle is refused before anything of it is sent or written; the
/// host itself refuses one that is cut within its head.
fn are_refused_when_cut(
    host: &Host,
    bytes: &[u8],
    [signatures, index, chunks]: [usize; 3],
    folder: &Path,
    url: &str,
) -> Result<()> {
    let file = folder.join("cut.orlop");
    let path = file.display().to_string();
    let url = format!("{url}/cut.orlop");
    let within_head = [
        0,
        1,
        8,
        PARTS - 1,
        PARTS,
        signatures - 1,
        signatures,
        index - 1,
        index,
        index + 1,
        (index + chunks) / 2,
        chunks - 1,
    ];
    let beyond = (0..CUTS).map(|part| chunks + (bytes.len() - chunks) * part / CUTS);
    let last = [bytes.len() - 1];
    for length in within_head.into_iter().chain(beyond).chain(last) {
        std::fs::write(&file, &bytes[..length])?;
        let cut = || format!("cut after {length} bytes of {}", bytes.len());
        host.refuses(&path, "fetch it again").with_context(cut)?;
        if length < chunks {
            host.refuses(&url, "cut off within").with_context(cut)?;
        }
    }
    host.is_unharmed()
}
