//! Letting go of images, and of what an interruption left.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Store;
use super::write::failed;
use crate::digest::Digest;
use crate::reference::normalise;
use crate::tree::DEPTH_MAX;
use crate::{Error, Result};

/// Start of names that mean nothing to a reader of a store.
const TEMPORARY: &str = ".tmp-";

/// Name of a directory that is coming or going.
pub(super) struct Temporary(String);

impl Temporary {
    /// For the image of that id. One name for each image is enough, since
    /// writers are kept apart.
    pub(super) fn for_image(hex: &str) -> Self {
        Self(format!("{TEMPORARY}{hex}"))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Takes away a reference, and the image's files if no other reference
    /// means it and `in_use` does not say of its id (`sha256:…`) that a
    /// container has them mounted. Files that stay are [`Store::collect`]'s.
    ///
    /// # Errors
    /// No such image, a read-only store.
    pub fn remove(&self, reference: &str, in_use: impl Fn(&str) -> bool) -> Result<()> {
        let wanted = normalise(reference)?;
        let images = self.index()?.images;
        let no_such_image = || Error::NoSuchImage {
            wanted: wanted.clone(),
            place: self.dir.display().to_string(),
            known: images.iter().map(|it| it.reference.clone()).collect(),
        };
        if !images.iter().any(|it| it.reference == wanted) {
            return Err(no_such_image());
        }
        let dir = self.lock()?;
        // Read again under the lock: another writer may have been faster.
        let mut images = self.index()?.images;
        let Some(at) = images.iter().position(|it| it.reference == wanted) else {
            return Err(no_such_image());
        };
        let gone = images.remove(at);
        self.write_index(&dir, &images)?;
        if !images.iter().any(|it| it.id == gone.id) && !in_use(&gone.id) {
            self.delete_image(&dir, &Digest::parse(&gone.id)?.hex())?;
        }
        Ok(())
    }

    /// Deletes what interrupted additions and removals left behind; gives how
    /// many there were. To be called once when a manager starts.
    ///
    /// # Errors
    /// The file system's.
    pub fn sweep(&self) -> Result<usize> {
        self.delete_where(|_| Ok(()), |(), name| name.starts_with(TEMPORARY))
    }

    /// Deletes images that no reference means, except those of which `in_use`
    /// says (given the id, `sha256:…`) that a container has them mounted;
    /// gives how many there were.
    ///
    /// # Errors
    /// An index that cannot be read (nothing is deleted then), and the file
    /// system's.
    pub fn collect(&self, in_use: impl Fn(&str) -> bool) -> Result<usize> {
        self.delete_where(Self::index, |index, name| {
            Digest::from_hex(name).is_some_and(|id| {
                let id = id.to_string();
                !index.images.iter().any(|it| it.id == id) && !in_use(&id)
            })
        })
    }

    /// Deletes what `is_unwanted` by what `learn` found out, which is asked once
    /// no other writer can change it.
    fn delete_where<T>(
        &self,
        learn: impl FnOnce(&Self) -> Result<T>,
        is_unwanted: impl Fn(&T, &str) -> bool,
    ) -> Result<usize> {
        if !self.dir.exists() {
            return Ok(0);
        }
        let dir = self.lock()?;
        let known = learn(self)?;
        let names = names(dir.as_fd()).map_err(|error| failed(&self.dir, &self.dir, error))?;
        let mut deleted = 0;
        for name in names.iter().filter_map(|name| name.to_str().ok()) {
            if !is_unwanted(&known, name) {
                continue;
            }
            if Digest::from_hex(name).is_some() {
                self.delete_image(&dir, name)?;
            } else {
                delete(&dir, name)
                    .map_err(|error| failed(&self.dir, &self.dir.join(name), error))?;
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Deletes an image's directory, which first loses its name: a directory
    /// with that name is always whole.
    fn delete_image(&self, dir: &OwnedFd, hex: &str) -> Result<()> {
        let temporary = Temporary::for_image(hex);
        let go = || -> io::Result<()> {
            delete(dir, temporary.name())?;
            match rustix::fs::renameat(dir, hex, dir, temporary.name()) {
                Ok(()) => rustix::fs::fsync(dir)?,
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            delete(dir, temporary.name())
        };
        go().map_err(|error| failed(&self.dir, &self.dir.join(hex), error))
    }
}

/// Deletes `name` in `dir` with all below it, following no link. Nothing
/// happens if it is not there.
pub(super) fn delete(dir: &OwnedFd, name: &str) -> io::Result<()> {
    delete_in(dir.as_fd(), &CString::new(name)?, 0)
}

fn delete_in(dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // An image's tree is two levels below its temporary name.
    if depth > DEPTH_MAX + 4 {
        return Err(io::Error::other("directories are nested too deep"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, name, flags, Mode::empty());
    let below = match open() {
        // Without privilege, a directory that its image closed to its owner.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    let _ = rustix::fs::fchmod(&below, Mode::RWXU);
    for entry in names(below.as_fd())? {
        delete_in(below.as_fd(), &entry, depth + 1)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Names in a directory, `.` and `..` aside.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory
            && (name.to_bytes() == b"." || name.to_bytes() == b"..")
        {
            continue;
        }
        names.push(name.to_owned());
    }
    Ok(names)
}
