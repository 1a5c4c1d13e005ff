//! Blobs by digest, out of a directory or an archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Options;
use crate::content::Content;
use crate::digest::{Digest, Hashing};
use crate::layer::{Budget, Capped, decoder};
use crate::spool::Spool;
use crate::tarball::{Reader, What};
use crate::{Error, Result};

/// A layout's files.
#[derive(Debug)]
pub(super) struct Blobs {
    /// The layout's own path, for messages.
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    /// Below a directory.
    Directory,
    /// In an archive, by path.
    Archive(BTreeMap<Vec<u8>, Content>),
}

impl Blobs {
    /// Opens a layout directory or an archive, and checks that it is one.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        let file = open(path)?;
        let meta = file
            .metadata()
            .map_err(|error| Error::io(show(path), error))?;
        let files = if meta.is_dir() {
            Files::Directory
        } else if meta.is_file() {
            Files::Archive(list(file, path, options)?)
        } else {
            return Err(Error::invalid(
                show(path),
                "is neither a directory nor a regular file",
            ));
        };
        let blobs = Self {
            path: path.to_owned(),
            files,
        };
        blobs.check_layout(options)?;
        Ok(blobs)
    }

    /// The layout's path.
    pub(super) fn shown(&self) -> String {
        show(&self.path)
    }

    /// A small file of the layout that has no digest, whole.
    pub(super) fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let what = format!("{} of {}", name, self.shown());
        let (mut reader, size) = self.file(name)?;
        if size > limit {
            return Err(too_large(what, size, limit));
        }
        let mut bytes = Vec::new();
        reader
            .by_ref()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(format!("read {what}"), error))?;
        Ok(bytes)
    }

    /// A small blob, whole and checked.
    pub(super) fn blob(
        &self,
        digest: Digest,
        size: u64,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>> {
        if size > limit {
            return Err(too_large(what.to_owned(), size, limit));
        }
        self.stream(digest, size, what, |reader| {
            let mut bytes = Vec::new();
            reader
                .read_to_end(&mut bytes)
                .map_err(|error| Error::io(format!("read {what}"), error))?;
            Ok(bytes)
        })
    }

    /// Lets `use_it` read a blob and gives its result if the blob was the
    /// promised one. A damaged blob is told as such, not as what the damage
    /// made of it.
    pub(super) fn stream<T>(
        &self,
        digest: Digest,
        size: u64,
        what: &str,
        use_it: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let (reader, _) = self.file(&format!("blobs/sha256/{}", digest.hex()))?;
        // One more byte than promised is enough to know.
        let mut reader = Hashing::new(reader.take(size.saturating_add(1)));
        let result = use_it(&mut reader);
        if let Err(error) = &result
            && error.is_no_space()
        {
            return result;
        }
        let (found, bytes) = reader
            .finish()
            .map_err(|error| Error::io(format!("read {what}"), error))?;
        let damaged = |expected: String, found: String| {
            Err(Error::Damaged {
                what: what.to_owned(),
                expected,
                found,
            })
        };
        if bytes != size {
            let found = if bytes > size {
                "more".to_owned()
            } else {
                format!("{bytes} bytes")
            };
            return damaged(format!("{size} bytes"), found);
        }
        if found != digest {
            return damaged(digest.to_string(), found.to_string());
        }
        result
    }

    /// A file of the layout, and its size.
    fn file(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64)> {
        match &self.files {
            Files::Directory => {
                let path = self.path.join(name);
                let file = open(&path)?;
                let meta = file
                    .metadata()
                    .map_err(|error| Error::io(show(&path), error))?;
                if !meta.is_file() {
                    return Err(Error::invalid(show(&path), "is not a regular file"));
                }
                Ok((Box::new(file), meta.len()))
            }
            Files::Archive(members) => {
                let content = members.get(name.as_bytes()).ok_or_else(|| {
                    Error::invalid(
                        self.shown(),
                        format!("has no {name}; copy or build it again"),
                    )
                })?;
                Ok((Box::new(content.reader()), content.len()))
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        match &self.files {
            Files::Directory => self.path.join(name).exists(),
            Files::Archive(members) => members.contains_key(name.as_bytes()),
        }
    }

    fn check_layout(&self, options: &Options) -> Result<()> {
        if !self.has("oci-layout") {
            let why = if self.has("manifest.json") {
                "is a docker archive; convert it with \
                 `skopeo copy docker-archive:FILE oci-archive:FILE.oci:NAME:TAG`"
            } else {
                "is no OCI layout: it has no file `oci-layout`"
            };
            return Err(Error::invalid(self.shown(), why));
        }
        let bytes = self.document("oci-layout", options.limits.document_bytes)?;
        let what = || format!("oci-layout of {}", self.shown());
        let layout: oci_spec::image::OciLayout = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(what(), error.to_string()))?;
        if !layout.image_layout_version().starts_with("1.") {
            let version = layout.image_layout_version();
            let why = format!("is of layout version {version:?}, and only 1.x is read");
            return Err(Error::invalid(what(), why));
        }
        Ok(())
    }
}

/// Opens without waiting on a pipe that someone put there.
fn open(path: &Path) -> Result<File> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map(File::from)
    .map_err(|error| Error::io(format!("open {}", path.display()), error))
}

/// Finds an archive's members; a compressed one is first laid out plain.
fn list(file: File, path: &Path, options: &Options) -> Result<BTreeMap<Vec<u8>, Content>> {
    let what = show(path);
    let budget = Budget::new(&options.limits);
    let mut start = [0; 4];
    let len = io::Read::read(&mut &file, &mut start).map_err(|e| Error::io(what.clone(), e))?;
    io::Seek::rewind(&mut &file).map_err(|error| Error::io(what.clone(), error))?;
    let compressed = start[..len].starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd];
    let file = if compressed {
        let mut spool = Spool::new_in(&options.spool_dir)?;
        let failed = |error| budget.read_error(&what, error);
        let mut left = options.limits.unpacked_bytes;
        let inner = decoder(&file).map_err(failed)?;
        spool.take_in(
            &mut Capped {
                inner,
                left: &mut left,
            },
            u64::MAX,
            &failed,
        )?;
        spool.file()
    } else {
        Arc::new(file)
    };
    index(file, &what, &budget)
}

/// Notes where each member of a plain archive lies.
fn index(file: Arc<File>, what: &str, budget: &Budget) -> Result<BTreeMap<Vec<u8>, Content>> {
    let end = file
        .metadata()
        .map_err(|error| Error::io(what, error))?
        .len();
    let mut plain = SeekSkip {
        file: &file,
        at: 0,
        end,
    };
    let mut members = BTreeMap::new();
    loop {
        let mut reader = Reader::new(&mut plain, budget.limits.extension_bytes);
        let member = match reader.next() {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(members),
            Err(fault) => return Err(budget.fault(what, fault)),
        };
        let What::File(size) = member.what else {
            continue;
        };
        let from = plain.at;
        let padded = size.checked_next_multiple_of(512).unwrap_or(u64::MAX);
        if end.saturating_sub(from) < size {
            return Err(Error::invalid(
                what,
                "ends in the middle of a member; copy it again",
            ));
        }
        plain.at = from.saturating_add(padded).min(end);
        if members.len() >= budget.limits.entries {
            let limit = format!("{} files", budget.limits.entries);
            let found = "the number of files".to_owned();
            return Err(Error::TooLarge {
                what: what.to_owned(),
                found,
                limit,
            });
        }
        let names = crate::tree::split(&member.path)
            .map_err(|error| Error::invalid(what, error.to_string()))?;
        members.insert(
            names.join(&b'/'),
            Content::from_file(Arc::clone(&file), from, size),
        );
    }
}

/// Reads a file from a place that its owner moves.
struct SeekSkip<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for SeekSkip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let got = std::os::unix::fs::FileExt::read_at(self.file, &mut buffer[..wanted], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn too_large(what: String, size: u64, limit: u64) -> Error {
    Error::TooLarge {
        what,
        found: format!("{size} bytes"),
        limit: format!("{limit} bytes"),
    }
}
