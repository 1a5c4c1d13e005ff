//! Keeping an image: written beside, flushed, renamed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::remove::{Temporary, delete};
use super::write::{failed, make_dir, write_file, write_tree};
use super::{CONFIG, IndexEntry, ROOTFS, Store};
use crate::image::LoadedImage;
use crate::spool::{HEADROOM, free_bytes};
use crate::tree::Tree;
use crate::{Error, Result};

impl Store {
    /// Keeps an image under its reference. An image that had that reference
    /// loses it, but stays on disk: containers may run from it (see
    /// [`Store::collect`]). When this returns, the image is there after a
    /// power cut, too; on an error, nothing of it is.
    ///
    /// # Errors
    /// No space (with what is needed), a read-only store, no privilege to give
    /// files to their owners.
    pub fn add(&self, image: &LoadedImage) -> Result<IndexEntry> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| Error::io(format!("make {}", self.dir.display()), error))?;
        let dir = self.lock()?;
        let entry = IndexEntry::from(image);
        if !exists(&dir, &image.id.hex()) {
            self.check_space(&image.tree)?;
            self.write_image(&dir, image)?;
        }
        let mut images = self.index()?.images;
        images.retain(|other| other.reference != entry.reference);
        images.push(entry.clone());
        self.write_index(&dir, &images)?;
        Ok(entry)
    }

    fn check_space(&self, tree: &Tree) -> Result<()> {
        let needed = tree.disk_bytes().saturating_add(HEADROOM);
        let free = free_bytes(&self.dir);
        if needed > free {
            return Err(Error::NoSpace {
                path: self.dir.clone(),
                needed,
                free,
            });
        }
        Ok(())
    }

    /// Writes an image's directory under a temporary name, and renames it.
    fn write_image(&self, dir: &OwnedFd, image: &LoadedImage) -> Result<()> {
        let hex = image.id.hex();
        let temporary = Temporary::for_image(&hex);
        // The lock is held, so one of that name is an interrupted attempt's.
        delete(dir, temporary.name()).map_err(|error| failed(&self.dir, &self.dir, error))?;
        let written = self
            .write_beside(dir, temporary.name(), image)
            .and_then(|()| {
                let rename = || {
                    rustix::fs::renameat(dir, temporary.name(), dir, &hex)?;
                    rustix::fs::fsync(dir)
                };
                rename().map_err(|error| failed(&self.dir, &self.dir.join(&hex), error.into()))
            });
        match written {
            Ok(()) => Ok(()),
            Err(error) => {
                // Best effort: what cannot be deleted now, a sweep will find.
                let _ = delete(dir, temporary.name());
                if error.is_no_space() {
                    let needed = image.tree.disk_bytes().saturating_add(HEADROOM);
                    let free = free_bytes(&self.dir);
                    return Err(Error::NoSpace {
                        path: self.dir.clone(),
                        needed,
                        free,
                    });
                }
                Err(error)
            }
        }
    }

    fn write_beside(&self, dir: &OwnedFd, name: &str, image: &LoadedImage) -> Result<()> {
        let at = self.dir.join(name);
        let own = make_dir(dir.as_fd(), name.as_bytes())
            .map_err(|error| failed(&self.dir, &at, error))?;
        write_file(own.as_fd(), CONFIG.as_bytes(), &image.config_bytes)
            .map_err(|error| failed(&self.dir, &at.join(CONFIG), error))?;
        let root = make_dir(own.as_fd(), ROOTFS.as_bytes())
            .map_err(|error| failed(&self.dir, &at.join(ROOTFS), error))?;
        write_tree(&image.tree, &root, &at.join(ROOTFS), self.ownership)?;
        // One flush for all files of the image, before it gets its name. The
        // root of a container must be searchable by that container's users.
        let finish = || {
            rustix::fs::fchmod(&own, Mode::from_raw_mode(0o755))?;
            rustix::fs::syncfs(&own)
        };
        finish().map_err(|error| failed(&self.dir, &at, error.into()))
    }
}

fn exists(dir: &OwnedFd, name: &str) -> bool {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    !matches!(rustix::fs::statat(dir, name, flags), Err(Errno::NOENT))
}
