//! Reads a disk image back and checks it: partitions, boot entries, and
//! whether each slot's hash tree is that of its root.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use object::{Object, ObjectSection};
use orlop_slot::{Partition, Slot};
use orlop_verity::Superblock;

use crate::esp;
use crate::gpt::{self, Extent};

/// A unified kernel image in the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its file name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Sections with their sizes, in the order of the file.
    pub sections: Vec<(String, u64)>,
    /// The kernel's command line.
    pub command_line: String,
    /// The root hash that the command line demands.
    pub root_hash: Option<String>,
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotContent {
    /// No hash tree: nothing is installed.
    Empty,
    /// Root and hash tree fit each other.
    Good {
        /// The hash that stands for both.
        root_hash: String,
        /// Bytes of the root.
        size: u64,
    },
    /// There is a hash tree, and it is not that of the root.
    Bad(String),
}

/// What a disk holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Partitions: name, first byte and length.
    pub partitions: Vec<(String, Extent)>,
    /// Boot entries by file name.
    pub entries: Vec<Entry>,
    /// Slot A and slot B.
    pub slots: Vec<(Slot, SlotContent)>,
}

impl Inspection {
    /// Whether every entry leads to a slot that is good.
    pub fn is_good(&self) -> bool {
        let leads = |entry: &Entry| {
            self.slots.iter().any(|(_, content)| match content {
                SlotContent::Good { root_hash, .. } => entry.root_hash.as_ref() == Some(root_hash),
                SlotContent::Empty | SlotContent::Bad(_) => false,
            })
        };
        let broken = |(_, content): &(Slot, SlotContent)| matches!(content, SlotContent::Bad(_));
        !self.entries.is_empty() && self.entries.iter().all(leads) && !self.slots.iter().any(broken)
    }
}

/// Inspects the raw disk image at `path`.
///
/// # Errors
/// A file that cannot be read, is in another format, or has no table of ours.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("reading {shown}"))?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic)
        .with_context(|| format!("reading {shown}"))?;
    anyhow::ensure!(
        &magic != b"QFI\xfb",
        "{shown} is in qcow2 format; make a raw copy with `qemu-img convert -O raw`"
    );
    let table = gpt::read(&mut file).with_context(|| shown.to_string())?;
    let partitions: Vec<(String, Extent)> = table
        .into_iter()
        .map(|(name, _, extent)| (name, extent))
        .collect();
    let file = Arc::new(file);
    let extent = |partition: Partition| {
        let found = partitions
            .iter()
            .find(|(name, _)| name == partition.label());
        found.map(|(_, extent)| *extent).with_context(|| {
            format!(
                "{shown}: no partition {:?}; this is no Orlop disk",
                partition.label()
            )
        })
    };
    let window = esp::Window::new(file.clone(), extent(Partition::Esp)?);
    let entries = entries(&window)?;
    let mut slots = Vec::new();
    for slot in [Slot::A, Slot::B] {
        let (root, hash) = (
            extent(Partition::Root(slot))?,
            extent(Partition::Verity(slot))?,
        );
        slots.push((slot, check_slot(&file, root, hash)?));
    }
    Ok(Inspection {
        partitions,
        entries,
        slots,
    })
}

fn entries(window: &esp::Window) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (path, size) in esp::list(window)? {
        let Some(name) = path.strip_prefix("EFI/Linux/") else {
            continue;
        };
        let bytes = esp::read(window, &path)?;
        let image = object::File::parse(bytes.as_slice()).with_context(|| path.clone())?;
        let mut sections = Vec::new();
        let mut command_line = String::new();
        for section in image.sections() {
            let name = section.name().unwrap_or("?").to_owned();
            if name == ".cmdline" {
                let text = section.data().unwrap_or_default();
                let text = text.get(..section.size() as usize).unwrap_or(text);
                command_line = String::from_utf8_lossy(text)
                    .trim_end_matches('\0')
                    .to_owned();
            }
            sections.push((name, section.size()));
        }
        let root_hash = command_line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("orlop.root="))
            .map(str::to_owned);
        entries.push(Entry {
            name: name.to_owned(),
            size,
            sections,
            command_line,
            root_hash,
        });
    }
    Ok(entries)
}

fn check_slot(file: &File, root: Extent, hash: Extent) -> Result<SlotContent> {
    let mut start = [0; Superblock::SIZE];
    file.read_exact_at(&mut start, hash.start)?;
    if start.iter().all(|byte| *byte == 0) {
        return Ok(SlotContent::Empty);
    }
    let superblock = match Superblock::decode(&start) {
        Ok(superblock) => superblock,
        Err(error) => return Ok(SlotContent::Bad(error.to_string())),
    };
    let size = superblock.data_blocks.saturating_mul(orlop_verity::BLOCK);
    if size > root.len || orlop_verity::size(superblock.data_blocks) > hash.len {
        return Ok(SlotContent::Bad(
            "the hash tree is for a larger root".to_owned(),
        ));
    }
    let tree = orlop_verity::build(file, root.start, &superblock)?;
    let mut stored = vec![0; tree.bytes.len()];
    match file.read_exact_at(&mut stored, hash.start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(SlotContent::Bad("the disk image is cut off".to_owned()));
        }
        outcome => outcome?,
    }
    match tree.bytes.iter().zip(&stored).position(|(a, b)| a != b) {
        Some(at) => Ok(SlotContent::Bad(format!(
            "dm-verity: the stored tree differs from the data's, first at byte {at}"
        ))),
        None => Ok(SlotContent::Good {
            root_hash: tree.root_hash_hex(),
            size,
        }),
    }
}
