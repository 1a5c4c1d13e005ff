//! `orlop-image publish`: a bundle as files that any web server can serve.
//!
//! Chunks first, each written beside its place and renamed; then the head of the
//! version; last the head that hosts ask for. Whoever fetches at any time finds
//! an old head or the new one, and every chunk of either. Chunks of older
//! versions stay.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use orlop_bundle::{
    Chunks, Entry, Head, Manifest, chunk, chunk_path, compare, head_name, newest_name,
};
use tempfile::NamedTempFile;

/// What `orlop-image publish` is asked.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The bundle: NAME-VERSION.orlop
    pub bundle: PathBuf,
    /// The directory that a web server serves; made if it is not there
    pub dir: PathBuf,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The head of the version.
    pub head: PathBuf,
    /// The version that hosts are offered, if it is a newer one than this.
    pub newer: Option<String>,
    /// Chunks of the bundle.
    pub chunks: u32,
    /// Those that were not there.
    pub new: u32,
    /// Bytes of those, compressed.
    pub new_bytes: u64,
    /// Those that were there, but damaged.
    pub mended: u32,
}

/// Publishes, and says what.
///
/// # Errors
/// As [`publish`].
pub fn run_publish(args: &PublishArgs) -> Result<()> {
    let Published {
        head,
        newer,
        chunks,
        new,
        new_bytes,
        mended,
    } = publish(&args.bundle, &args.dir)?;
    println!(
        "{}: {chunks} chunks, {new} of them new ({:.1} MiB)",
        head.display(),
        new_bytes as f64 / f64::from(1 << 20)
    );
    if mended > 0 {
        eprintln!("note: {mended} chunks were there already, but damaged; they are whole again");
    }
    if let Some(newer) = newer {
        eprintln!("note: hosts are offered {newer}, which is newer, as before");
    }
    Ok(())
}

/// Publishes the bundle at `bundle` in the directory `dir`.
///
/// # Errors
/// A bundle that cannot be read, is not signed or is damaged; another bundle of
/// that version, or another host's, that is published there; writing.
pub fn publish(bundle: &Path, dir: &Path) -> Result<Published> {
    let shown = bundle.display();
    let file = File::open(bundle).with_context(|| format!("reading {shown}"))?;
    let mut input = BufReader::with_capacity(1 << 20, file);
    let head = Head::read(&mut input).with_context(|| shown.to_string())?;
    head.check_signatures().with_context(|| shown.to_string())?;
    let bytes = head.encode();
    let manifest = head.manifest();
    let version_head = dir.join(head_name(&manifest.name, &manifest.version));
    let newest_head = dir.join(newest_name(&manifest.name));
    // What is the newest stays so until this is done.
    let _alone = lock(dir)?;
    if let Some(other) = read_head(&version_head)? {
        check_same(&version_head, other.manifest(), manifest)?;
    }
    let newer = newer_one(&newest_head, &head)?;

    let mut published = Published {
        head: version_head.clone(),
        newer,
        chunks: 0,
        new: 0,
        new_bytes: 0,
        mended: 0,
    };
    for chunk in Chunks::new(head.index(), input) {
        let chunk = chunk.with_context(|| shown.to_string())?;
        let entry = &head.index().entries()[chunk.number as usize];
        let place = dir.join(chunk_path(&entry.digest));
        published.chunks += 1;
        match state(&place, entry) {
            Found::Whole => continue,
            Found::Damaged => published.mended += 1,
            Found::Nothing => {
                published.new += 1;
                published.new_bytes += chunk.compressed.len() as u64;
            }
        }
        put(&place, &chunk.compressed)?;
    }
    // The chunks are on the disk before anything leads to them.
    sync(dir)?;
    put(&version_head, &bytes)?;
    sync(dir)?;
    if published.newer.is_none() {
        put(&newest_head, &bytes)?;
        sync(dir)?;
    }
    Ok(published)
}

/// The directory `dir`, made if it is not there, for nobody else to publish in
/// until it is dropped.
fn lock(dir: &Path) -> Result<File> {
    let shown = || dir.display().to_string();
    for_all(dir)?;
    let file = File::open(dir).with_context(shown)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).with_context(shown)?;
    Ok(file)
}

/// Other signatures of the same manifest take the place of those that are there:
/// one may have been forgotten. Nothing else does.
fn check_same(place: &Path, there: &Manifest, ours: &Manifest) -> Result<()> {
    let place = place.display();
    if there == ours {
        return Ok(());
    }
    let (name, version) = (&ours.name, &ours.version);
    if (&there.name, &there.version) != (name, version) {
        bail!(
            "{place} is of {:?}, version {}; publish {name:?} in another directory",
            there.name,
            there.version
        );
    }
    bail!(
        "{place}: version {version} of {name} is published already, and is another one; \
         build this one with another version, as hosts that have the other would not take it"
    );
}

/// The version that is offered now, if that is newer than `head`'s.
fn newer_one(place: &Path, head: &Head) -> Result<Option<String>> {
    let Some(offered) = read_head(place)? else {
        return Ok(None);
    };
    let (ours, theirs) = (head.manifest(), offered.manifest());
    if theirs.name != ours.name {
        bail!(
            "{} is of {:?}, version {}; publish {:?} in another directory",
            place.display(),
            theirs.name,
            theirs.version,
            ours.name
        );
    }
    let is_newer = compare(&theirs.version, &ours.version) == Ordering::Greater;
    Ok(is_newer.then(|| theirs.version.clone()))
}

fn read_head(place: &Path) -> Result<Option<Head>> {
    let file = match File::open(place) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", place.display())),
    };
    let head = Head::read(&mut BufReader::new(file)).with_context(|| {
        let shown = place.display();
        format!("{shown}: expected the head of a bundle; remove it if it is not needed")
    })?;
    Ok(Some(head))
}

/// What is at a chunk's place.
enum Found {
    Nothing,
    Whole,
    Damaged,
}

fn state(place: &Path, entry: &Entry) -> Found {
    let Ok(file) = File::open(place) else {
        return Found::Nothing;
    };
    let mut bytes = Vec::new();
    let read = file
        .take(u64::from(chunk::COMPRESSED_MAX) + 1)
        .read_to_end(&mut bytes);
    match read.is_ok() && chunk::unpack(entry, &bytes).is_ok() {
        true => Found::Whole,
        false => Found::Damaged,
    }
}

/// Writes a file that all may read: beside its place, and renamed.
fn put(place: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", place.display());
    let directory = place.parent().unwrap_or(Path::new("."));
    for_all(directory)?;
    let mut file = NamedTempFile::new_in(directory).with_context(writing)?;
    file.write_all(bytes).with_context(writing)?;
    let all = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(all).with_context(writing)?;
    file.persist(place).with_context(writing)?;
    Ok(())
}

/// Makes a directory that is not there, and those above it; all may look into
/// what is made.
fn for_all(directory: &Path) -> Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        for_all(above)?;
    }
    let making = || format!("making {}", directory.display());
    match fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made.with_context(making)?,
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).with_context(making)
}

/// Waits until all that was written in the file system of `dir` is on the disk:
/// once for thousands of files.
fn sync(dir: &Path) -> Result<()> {
    let shown = || format!("writing {}", dir.display());
    let file = File::open(dir).with_context(shown)?;
    rustix::fs::syncfs(&file).with_context(shown)
}
