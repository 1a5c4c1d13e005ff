//! The EFI system partition: which entries are in it, and changing them.
//!
//! Whoever uses it has it alone, and has it mounted no longer than that.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orlop_slot::install::{TEMPORARY, keep};
use orlop_slot::trial::{Installed, Rename};
use rustix::fs::{Advice, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::uki;
use super::volume::{Access, Volume, once_free};

/// The entries, below the volume's root.
const ENTRIES: &str = "EFI/Linux";
/// The most files that are looked at; an ESP of ours has three at most.
const FILES_MAX: usize = 64;
/// How long the kernel may take to get vfat, which PID 1 loads when nothing else is to do.
pub(crate) const VFAT_PATIENCE: Duration = Duration::from_secs(120);
/// The pause after which it is asked again.
const VFAT_PAUSE: Duration = Duration::from_millis(500);
/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

/// What is in `EFI/Linux`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The files that a boot loader may start, by name.
    pub(crate) files: Vec<Installed>,
    /// Why some of them lead nowhere.
    pub(crate) problems: Vec<String>,
    /// A kernel image that is not an entry yet, if there is one.
    pub(crate) temporary: Option<Installed>,
    /// Bytes that files may still take.
    pub(crate) free: u64,
    /// Bytes of each file, by name.
    pub(crate) sizes: Vec<(String, u64)>,
}

/// The partition; every clone is the same one.
#[derive(Debug, Clone)]
pub struct Esp {
    place: Place,
    turn: Arc<Mutex<()>>,
}

#[derive(Debug, Clone)]
enum Place {
    /// A block device; none when the root's disk has no such partition.
    Device(Option<PathBuf>),
    /// Mounted already, as tests have it.
    Mounted(PathBuf),
}

/// Files of the partition, while this lives; nobody else has it meanwhile.
pub(crate) struct Opened<'e> {
    root: PathBuf,
    _volume: Option<Volume>,
    _turn: MutexGuard<'e, ()>,
}

impl Esp {
    /// The partition on `device`; the empty path is none.
    pub fn new(device: &str) -> Esp {
        let device = Some(PathBuf::from(device)).filter(|path| !path.as_os_str().is_empty());
        Esp::at(Place::Device(device))
    }

    /// The partition whose files are in `directory`.
    pub fn mounted(directory: &Path) -> Esp {
        Esp::at(Place::Mounted(directory.to_owned()))
    }

    fn at(place: Place) -> Esp {
        let turn = Arc::default();
        Esp { place, turn }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, access: Access) -> io::Result<Opened<'_>> {
        let turn = self.turn();
        let (root, volume) = match &self.place {
            Place::Mounted(root) => (root.clone(), None),
            Place::Device(Some(device)) => {
                let volume = Volume::mount(device, access)?;
                (volume.root(), Some(volume))
            }
            Place::Device(None) => {
                let none = "the root's disk has no partition named \"esp\"";
                return Err(io::Error::other(none));
            }
        };
        Ok(Opened {
            root,
            _volume: volume,
            _turn: turn,
        })
    }

    /// Lists the entries.
    ///
    /// # Errors
    /// The system's; `ENODEV` while the kernel has no vfat yet.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        list_in(&self.open(Access::Read)?.entries())
    }

    /// [`Esp::list`], for whoever can wait until the kernel has vfat, which PID 1 loads when nothing
    /// else is to do.
    pub(crate) async fn list_once_there(&self) -> io::Result<Listing> {
        self.list_within(VFAT_PATIENCE).await
    }

    /// The same, for whoever can wait for so long.
    pub(crate) async fn list_within(&self, patience: Duration) -> io::Result<Listing> {
        let mut left = patience;
        loop {
            match self.aside(Esp::list).await {
                Err(error) if no_vfat(&error) && !left.is_zero() => {
                    let pause = left.min(VFAT_PAUSE);
                    left -= pause;
                    tokio::time::sleep(pause).await;
                }
                Err(error) if no_vfat(&error) => return Err(without_vfat(&error)),
                listed => return listed,
            }
        }
    }

    /// Does something with it, on a thread that may wait for a disk.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Esp) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let esp = self.clone();
        let outcome = tokio::task::spawn_blocking(move || work(&esp)).await;
        outcome.unwrap_or_else(|_| Err(io::Error::other("using it broke off")))
    }

    /// Renames an entry, lastingly.
    ///
    /// # Errors
    /// The system's; `EEXIST` when a file has the new name.
    pub(crate) fn rename(&self, rename: &Rename) -> io::Result<()> {
        rename_in(&self.open(Access::Write)?.entries(), rename)
    }

    /// Removes entries, lastingly. One that is not there is no error.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn remove(&self, names: &[String]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        remove_in(&self.open(Access::Write)?.entries(), names)
    }

    /// Writes a kernel image of `size` bytes as [`TEMPORARY`], lastingly, and has `check` read it
    /// back from the disk.
    ///
    /// # Errors
    /// The system's, `content`'s and `check`'s. What was written is removed then.
    pub(crate) fn copy(
        &self,
        content: impl Read,
        size: u64,
        check: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        copy_in(&self.open(Access::Write)?.entries(), content, size, check)
    }

    /// The partition, for reading files of it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read(&self) -> io::Result<Opened<'_>> {
        self.open(Access::Read)
    }

    /// Mends what power may have left: names of entries that share their clusters, files of
    /// `gives_way` that were half written, and clusters that nothing leads to. Tells what it did, if
    /// anything.
    ///
    /// # Errors
    /// The system's; damage that cannot be mended.
    pub(crate) fn mend(&self, gives_way: &[String]) -> io::Result<Option<String>> {
        let _turn = self.turn();
        match &self.place {
            Place::Device(Some(device)) => mend_on(device, gives_way),
            Place::Device(None) | Place::Mounted(_) => Ok(None),
        }
    }
}

impl Opened<'_> {
    fn entries(&self) -> PathBuf {
        self.root.join(ENTRIES)
    }

    /// An entry's file, which lives no longer than this does.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn entry(&self, name: &str) -> io::Result<File> {
        File::open(self.entries().join(name))
    }
}

fn list_in(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for (number, entry) in std::fs::read_dir(directory)?.enumerate() {
        if number == FILES_MAX {
            let many =
                format!("{ENTRIES} has more than {FILES_MAX} files; remove what is not Orlop's");
            return Err(io::Error::other(many));
        }
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_temporary = name.eq_ignore_ascii_case(TEMPORARY);
        if !name.to_ascii_lowercase().ends_with(".efi") && !is_temporary {
            continue;
        }
        listing.sizes.push((name.clone(), entry.metadata()?.len()));
        let root = File::open(entry.path())
            .map_err(uki::UkiError::Io)
            .and_then(|file| uki::root_hash(&file));
        if is_temporary {
            let root = root.ok();
            listing.temporary = Some(Installed { name, root });
            continue;
        }
        let root = root.map_err(|error| {
            let problem = format!("{ENTRIES}/{name} on the ESP leads to no root: {error}");
            listing.problems.push(problem);
        });
        let root = root.ok();
        listing.files.push(Installed { name, root });
    }
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    let room = rustix::fs::statvfs(directory)?;
    listing.free = room.f_bavail * room.f_frsize;
    Ok(listing)
}

fn open_directory(directory: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

/// `dirsync` has written a directory's change; this has the file allocation table and the disk's own
/// cache written, too.
fn flush(directory: &std::os::fd::OwnedFd) -> io::Result<()> {
    rustix::fs::fsync(directory)?;
    Ok(rustix::fs::syncfs(directory)?)
}

fn rename_in(directory: &Path, rename: &Rename) -> io::Result<()> {
    let directory = open_directory(directory)?;
    // Two names may share their clusters: to replace one would free the other's.
    let (from, to) = (rename.from.as_str(), rename.to.as_str());
    rustix::fs::renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE)?;
    flush(&directory)
}

fn remove_in(directory: &Path, names: &[String]) -> io::Result<()> {
    let directory = open_directory(directory)?;
    for name in names {
        match rustix::fs::unlinkat(&directory, name.as_str(), rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    flush(&directory)
}

fn copy_in(
    directory: &Path,
    content: impl Read,
    size: u64,
    check: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let path = directory.join(TEMPORARY);
    let open = || {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).open(&path)
    };
    let written = open().and_then(|file| {
        write_all(&file, content, size)?;
        file.sync_all()?;
        flush(&open_directory(directory)?)?;
        // What is read next comes from the disk.
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        check(&file)
    });
    if written.is_err() {
        // It is removed at the next install as well.
        let _ = remove_in(directory, &[TEMPORARY.to_owned()]);
    }
    written
}

fn write_all(mut file: &File, mut content: impl Read, size: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        content.read_exact(&mut piece[..part])?;
        file.write_all(&piece[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Opens a partition for nobody else: the kernel refuses one that is mapped or mounted.
///
/// # Errors
/// The system's; `EBUSY` when somebody uses it.
pub(crate) fn open_alone(device: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    let open = || Ok(rustix::fs::open(device, flags, Mode::empty())?.into());
    once_free(open)
}

fn mend_on(device: &Path, gives_way: &[String]) -> io::Result<Option<String>> {
    let file = open_alone(device)?;
    let volume = orlop_fat::Volume::open(&file).map_err(io::Error::other)?;
    let keep = |twins: &[&orlop_fat::Entry]| {
        let names: Vec<&str> = twins.iter().map(|entry| entry.name.as_str()).collect();
        keep(&names)
    };
    let give_up = |entry: &orlop_fat::Entry| gives_way.contains(&entry.name);
    let mend = orlop_fat::mend(&volume, ENTRIES, keep, give_up).map_err(io::Error::other)?;
    for stage in &mend.stages {
        for patch in stage {
            file.write_all_at(&patch.bytes, patch.offset)?;
        }
        file.sync_all()?;
    }
    if let Some(problem) = &mend.problem {
        tracing::warn!("the boot partition is damaged: {problem}");
        if let Some(shared) = shares(&file, gives_way)? {
            return Err(io::Error::other(format!(
                "{shared} cannot be removed without harm to other files there: {problem}; write the \
                 boot partition anew"
            )));
        }
    }
    Ok((!mend.is_empty()).then(|| {
        format!(
            "the boot partition was mended: {} names removed that led to another's clusters, {} that \
             led astray, {} clusters freed that nothing led to",
            mend.twins.len(),
            mend.torn.len(),
            mend.lost_clusters
        )
    }))
}

/// The first file of `gives_way` of which it cannot be shown that its clusters are nobody else's in
/// that directory.
fn shares(device: &File, gives_way: &[String]) -> io::Result<Option<String>> {
    let volume = orlop_fat::Volume::open(device).map_err(io::Error::other)?;
    let entries = volume.directory(ENTRIES).map_err(io::Error::other)?;
    let (goes, stays): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(|entry| !entry.is_directory)
        .partition(|entry| gives_way.contains(&entry.name));
    let mut taken = HashSet::new();
    for entry in stays {
        // One that leads astray leads nowhere that counts.
        taken.extend(volume.clusters(entry).unwrap_or_default());
    }
    for entry in goes {
        let own = volume.clusters(entry).unwrap_or_default();
        let alone = !own.is_empty() && own.iter().all(|cluster| taken.insert(*cluster));
        if entry.size > 0 && !alone {
            return Ok(Some(entry.name.clone()));
        }
    }
    Ok(None)
}

/// Whether an error says that the kernel has no vfat, or not yet.
fn no_vfat(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

fn without_vfat(error: &io::Error) -> io::Error {
    let why =
        format!("{error}: the kernel has no vfat; its image lacks the module, or a part of it");
    io::Error::new(error.kind(), why)
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
        write("orlop.new", &image).unwrap();
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
        assert_eq!(listing.temporary.unwrap().root, Some(root));
        assert_eq!(listing.sizes.len(), 3);
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

    #[test]
    fn a_copy_that_is_not_right_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(TEMPORARY);
        let copy = |size, good: bool| {
            let check = |file: &File| {
                let mut bytes = vec![0; 3];
                file.read_exact_at(&mut bytes, 0)?;
                assert_eq!(bytes, b"abc");
                if good {
                    Ok(())
                } else {
                    Err(io::Error::other("other bytes"))
                }
            };
            copy_in(dir.path(), &b"abc"[..], size, check)
        };
        for (size, good) in [(3, false), (4, true)] {
            assert!(copy(size, good).is_err());
            assert!(!at.exists());
        }
        copy(3, true).unwrap();
        assert_eq!(std::fs::read(&at).unwrap(), b"abc");
        // One that is there is not written over: its clusters may be another's.
        assert!(copy(3, true).is_err());
    }
}
