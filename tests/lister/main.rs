//! Lists a tree as whoever runs it sees it, a name a line, in order: the same
//! program in a container and on what another tool unpacked gives lines that
//! can be compared.
//!
//! `lister DIRECTORY` prints path, kind and permissions, owner, size, time, the
//! number of names and the first of them, extended attributes, and what is in
//! it. What file systems count differently (a directory's size and names) is
//! left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Error, Result};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The most bytes of a file's attribute names, and of one's value.
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

fn main() -> Result<()> {
    let root = std::env::args_os()
        .nth(1)
        .ok_or_else(|| Error::other("usage: lister DIRECTORY"))?;
    let root = Path::new(&root);
    let mut paths = vec![PathBuf::new()];
    collect(root, Path::new(""), &mut paths)?;
    paths.sort();
    let mut first_names = BTreeMap::new();
    let mut all = String::new();
    for path in paths {
        let line = line(root, &path, &mut first_names)
            .map_err(|error| Error::other(format!("{}: {error}", path.display())))?;
        all.push_str(&line);
        all.push('\n');
    }
    std::io::Write::write_all(&mut std::io::stdout().lock(), all.as_bytes())
}

/// Every name below `root`, as a path from there.
fn collect(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        paths.push(path.clone());
        if entry.file_type()?.is_dir() {
            collect(root, &path, paths)?;
        }
    }
    Ok(())
}

fn line(
    root: &Path,
    path: &Path,
    first_names: &mut BTreeMap<(u64, u64), PathBuf>,
) -> Result<String> {
    let at = root.join(path);
    let meta = at.symlink_metadata()?;
    let mut line = format!(
        "{path:?} mode={:o} owner={}:{} time={}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if !meta.is_dir() {
        let first = first_names
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| path.to_path_buf());
        let _ = write!(
            line,
            " size={} names={} first={first:?}",
            meta.size(),
            meta.nlink()
        );
    }
    for (name, value) in attributes(&at)? {
        let _ = write!(line, " {name}={}", hexadecimal(&value));
    }
    if meta.is_file() {
        let digest = Sha256::digest(fs::read(&at)?);
        let _ = write!(line, " sha256={}", hexadecimal(&digest));
    } else if meta.is_symlink() {
        let _ = write!(line, " to={:?}", fs::read_link(&at)?);
    }
    Ok(line)
}

fn attributes(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
