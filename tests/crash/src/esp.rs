//! The files on the EFI system partition, as firmware reads them.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use orlop_fat::{Entry, FatError, Volume};
use orlop_slot::Partition;

use crate::random::mix;
use crate::trace::SECTOR;
use crate::uki::{self, Digest, Version};
use crate::view::View;

/// Where the unified kernel images are.
const LINUX: &str = "EFI/Linux";
/// The largest file that is looked into; a boot partition has 512 MiB by default.
const FILE_MAX: u32 = 1 << 30;
/// How much of a file is read at once.
const PIECE: usize = 1 << 20;

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    /// Whether systemd-boot takes it for an image that it can start.
    pub(crate) is_listed: bool,
    /// The root that it leads to.
    pub(crate) root: Option<[u8; 32]>,
}

/// The partition of a disk in one state.
pub(crate) struct Esp<'v> {
    volume: Volume<Window<'v>>,
    /// The window's.
    print: Rc<Cell<Option<u64>>>,
}

/// What is known of file contents, by what they come from.
pub(crate) type Contents = HashMap<(u64, u32), Content>;

impl<'v> Esp<'v> {
    pub(crate) fn open(view: &'v View<'_>) -> Result<Esp<'v>, FatError> {
        let sectors = view.disk().partition(Partition::Esp);
        let print = Rc::new(Cell::new(None));
        let window = Window {
            view,
            start: sectors.start * SECTOR,
            length: (sectors.end - sectors.start) * SECTOR,
            print: Rc::clone(&print),
        };
        let volume = Volume::open(window)?;
        Ok(Esp { volume, print })
    }

    /// The files in `EFI/Linux`.
    pub(crate) fn images(&self) -> Result<Vec<Entry>, FatError> {
        let mut entries = self.volume.directory(LINUX)?;
        entries.retain(|entry| !entry.is_directory);
        Ok(entries)
    }

    pub(crate) fn entry(&self, path: &str) -> Result<Entry, FatError> {
        self.volume.entry(path)
    }

    /// What is in a file, read only if it is not known yet.
    pub(crate) fn content(&self, entry: &Entry, known: &mut Contents) -> Result<Content, FatError> {
        let key = (self.print(entry)?, entry.size);
        if let Some(content) = known.get(&key) {
            return Ok(content.clone());
        }
        let bytes = self.read(entry)?;
        let content = Content {
            digest: uki::digest(&bytes),
            is_listed: uki::is_listed(&bytes),
            root: Version::of_uki(&bytes).ok().map(|version| version.root),
        };
        known.insert(key, content.clone());
        Ok(content)
    }

    /// All of a file.
    pub(crate) fn read(&self, entry: &Entry) -> Result<Vec<u8>, FatError> {
        if entry.size > FILE_MAX {
            let name = entry.name.clone();
            return Err(FatError::TooMany {
                name,
                what: "bytes",
                limit: FILE_MAX as usize,
            });
        }
        self.volume.read(entry)
    }

    /// A number for what a file's content comes from.
    fn print(&self, entry: &Entry) -> Result<u64, FatError> {
        let mut reader = self.volume.reader(entry)?;
        self.print.set(Some(0));
        let mut piece = vec![0; PIECE];
        let outcome = loop {
            match reader.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        let sum = self.print.take().unwrap_or_default();
        outcome?;
        Ok(sum)
    }
}

/// The partition's bytes.
struct Window<'v> {
    view: &'v View<'v>,
    start: u64,
    length: u64,
    /// While this is a number nothing is read, and what would be read is added to it.
    print: Rc<Cell<Option<u64>>>,
}

impl orlop_fat::ReadAt for Window<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self.start + offset;
        let Some(sum) = self.print.get() else {
            return self.view.read(buffer, at);
        };
        let sectors = at / SECTOR..(at + buffer.len() as u64).div_ceil(SECTOR);
        let add = |sum, sector| mix(sum ^ (sector << 24 ^ u64::from(self.view.source(sector))));
        self.print.set(Some(sectors.fold(sum, add)));
        Ok(())
    }
}
