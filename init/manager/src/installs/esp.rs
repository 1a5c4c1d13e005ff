//! The EFI system partition: which entries are in it, and renaming one.
//!
//! It is mounted only while it is looked at or written to, and nowhere: the mount has no place in
//! any directory and ends with the descriptor that holds it, so that a manager that is killed leaves
//! none behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_slot::trial::{Installed, Rename};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::uki;

/// The entries, below the volume's root.
const ENTRIES: &str = "EFI/Linux";
/// The most files that are looked at; an ESP of ours has three at most.
const FILES_MAX: usize = 64;

/// What is in `EFI/Linux`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The files that a boot loader may start, by name.
    pub(super) files: Vec<Installed>,
    /// Why some of them lead nowhere.
    pub(super) problems: Vec<String>,
}

/// Lists the entries on `device`.
///
/// # Errors
/// The system's; `ENODEV` while the kernel has no vfat yet.
pub(super) fn list(device: &Path) -> io::Result<Listing> {
    let volume = Volume::mount(device, Access::Read)?;
    list_in(&volume.entries())
}

/// Renames an entry on `device`, lastingly.
///
/// # Errors
/// The system's; `EEXIST` when a file has the new name.
pub(super) fn rename(device: &Path, rename: &Rename) -> io::Result<()> {
    let volume = Volume::mount(device, Access::Write)?;
    rename_in(&volume.entries(), rename)
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// A mount of the volume.
#[derive(Debug)]
struct Volume(OwnedFd);

impl Volume {
    fn mount(device: &Path, access: Access) -> io::Result<Volume> {
        use rustix::mount::{
            fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
        };
        let volume = fsopen(c"vfat", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&volume, c"source", device)?;
        let harmless = MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let flags = match access {
            Access::Read => {
                fsconfig_set_flag(&volume, c"ro")?;
                harmless | MountAttrFlags::MOUNT_ATTR_RDONLY
            }
            // Each change of a directory is on the disk before the next is begun.
            Access::Write => {
                fsconfig_set_flag(&volume, c"dirsync")?;
                harmless
            }
        };
        fsconfig_create(&volume)?;
        Ok(Volume(fsmount(
            &volume,
            FsMountFlags::FSMOUNT_CLOEXEC,
            flags,
        )?))
    }

    fn entries(&self) -> PathBuf {
        let root = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        Path::new(&root).join(ENTRIES)
    }
}

fn list_in(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(directory)?.take(FILES_MAX) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !name.to_ascii_lowercase().ends_with(".efi") {
            continue;
        }
        let root = File::open(entry.path())
            .map_err(uki::UkiError::Io)
            .and_then(|file| uki::root_hash(&file));
        let root = root.map_err(|error| {
            let problem = format!("{ENTRIES}/{name} on the ESP leads to no root: {error}");
            listing.problems.push(problem);
        });
        let root = root.ok();
        listing.files.push(Installed { name, root });
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

fn rename_in(directory: &Path, rename: &Rename) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    // Two names may share their clusters: to replace one would free the other's.
    let (from, to) = (rename.from.as_str(), rename.to.as_str());
    rustix::fs::renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE)?;
    // `dirsync` wrote it; this has the disk's own cache written, too.
    rustix::fs::fsync(&directory)?;
    Ok(rustix::fs::syncfs(&directory)?)
}

/// Whether an error says that the kernel has no vfat, or not yet.
pub(super) fn no_vfat(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_listed_with_the_root_that_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = "ab".repeat(32);
        let image = uki::tests::uki(&format!("orlop.root={root}"));
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes);
        write("orlop_1_1.efi", &image).unwrap();
        write("ORLOP_~1.EFI", &image[..image.len() - 1]).unwrap();
        write("notes.txt", b"").unwrap();
        let listing = list_in(dir.path()).unwrap();
        let found: Vec<_> = listing
            .files
            .iter()
            .map(|file| (file.name.as_str(), file.root.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("ORLOP_~1.EFI", None),
                ("orlop_1_1.efi", Some(root.as_str()))
            ]
        );
        assert_eq!(listing.problems.len(), 1);
        assert!(listing.problems[0].contains("cut off"), "{listing:?}");
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a"), "a").unwrap();
        std::fs::write(at("b"), "b").unwrap();
        let to = |to: &str| Rename {
            from: "a".to_owned(),
            to: to.to_owned(),
        };
        assert!(rename_in(dir.path(), &to("b")).is_err());
        assert_eq!(std::fs::read(at("b")).unwrap(), b"b");
        rename_in(dir.path(), &to("c")).unwrap();
        assert!(!at("a").exists() && at("c").exists());
    }
}
