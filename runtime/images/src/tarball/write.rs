//! Writing a tree as a tar stream, the same bytes for the same tree.

use std::collections::BTreeMap;
use std::io::{self, Write};

use tar::{EntryType, Header};

use super::number;
use super::pax::{XATTR, encode};
use crate::tree::{Entry, Kind, NodeId, Tree};

const BLOCK: usize = 512;
/// What a field of eight (or twelve) bytes holds in octal, its NUL aside.
const OCTAL_7: u64 = 0o7_777_777;
const OCTAL_11: u64 = 0o77_777_777_777;
const NAME_FIELD: usize = 100;

/// Writes every entry but the root, in order, as ustar members with PAX
/// records where ustar does not suffice. Nothing depends on the clock or on
/// user names.
///
/// # Errors
/// The writer's, or that of the files behind the tree's content.
pub fn write_tree(tree: &Tree, to: &mut dyn Write) -> io::Result<()> {
    let mut first: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
    let counts = tree.link_counts();
    for entry in tree.walk().filter(|entry| !entry.path.is_empty()) {
        if let Some(target) = first.get(&entry.id) {
            write_member(&entry, Some(target), to)?;
            continue;
        }
        if counts.get(&entry.id).is_some_and(|count| *count > 1) {
            first.insert(entry.id, entry.path.clone());
        }
        write_member(&entry, None, to)?;
        if let Kind::File(content) = &entry.node.kind {
            content.copy_to(to)?;
            pad(content.len(), to)?;
        }
    }
    to.write_all(&[0; 2 * BLOCK])
}

fn write_member(entry: &Entry<'_>, hard_link: Option<&[u8]>, to: &mut dyn Write) -> io::Result<()> {
    let (kind, link, size, device) = match (hard_link, &entry.node.kind) {
        (Some(target), _) => (EntryType::Link, target, 0, None),
        (None, Kind::Dir(_)) => (EntryType::Directory, &b""[..], 0, None),
        (None, Kind::File(content)) => (EntryType::Regular, &b""[..], content.len(), None),
        (None, Kind::Symlink(target)) => (EntryType::Symlink, target.as_slice(), 0, None),
        (None, Kind::Char(device)) => (EntryType::Char, &b""[..], 0, Some(device)),
        (None, Kind::Block(device)) => (EntryType::Block, &b""[..], 0, Some(device)),
        (None, Kind::Fifo) => (EntryType::Fifo, &b""[..], 0, None),
    };
    let mut path = entry.path.clone();
    if kind == EntryType::Directory {
        path.push(b'/');
    }
    let meta = &entry.node.meta;
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(meta.mode & 0o7777);
    let fields = header.as_mut_bytes();
    name_field(&path, b"path", 0, fields, &mut records);
    name_field(link, b"linkpath", 157, fields, &mut records);
    header.set_size(number_field(size, OCTAL_11, b"size", &mut records));
    header.set_uid(number_field(meta.uid.into(), OCTAL_7, b"uid", &mut records));
    header.set_gid(number_field(meta.gid.into(), OCTAL_7, b"gid", &mut records));
    let whole = u64::try_from(meta.mtime.secs)
        .ok()
        .filter(|secs| *secs <= OCTAL_11);
    header.set_mtime(whole.unwrap_or(0));
    if whole.is_none() || meta.mtime.nanos != 0 {
        encode(b"mtime", number::show(meta.mtime).as_bytes(), &mut records);
    }
    if let Some(device) = device {
        header.set_device_major(device.major)?;
        header.set_device_minor(device.minor)?;
    }
    if hard_link.is_none() {
        for (name, value) in &meta.xattrs {
            encode(&[XATTR, name].concat(), value, &mut records);
        }
    }
    if !records.is_empty() {
        let mut extension = Header::new_ustar();
        extension.set_entry_type(EntryType::XHeader);
        extension.set_mode(0o644);
        extension.set_size(records.len() as u64);
        extension.as_mut_bytes()[..7].copy_from_slice(b"PaxHead");
        extension.set_cksum();
        to.write_all(extension.as_bytes())?;
        to.write_all(&records)?;
        pad(records.len() as u64, to)?;
    }
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Puts a name into its field, or its start there and the whole in a record.
fn name_field(name: &[u8], key: &[u8], at: usize, header: &mut [u8; BLOCK], records: &mut Vec<u8>) {
    let fits = &name[..name.len().min(NAME_FIELD)];
    header[at..at + fits.len()].copy_from_slice(fits);
    if fits.len() < name.len() {
        encode(key, name, records);
    }
}

/// The number itself if its field holds it; else zero, and a record.
fn number_field(value: u64, most: u64, key: &[u8], records: &mut Vec<u8>) -> u64 {
    if value <= most {
        return value;
    }
    encode(key, value.to_string().as_bytes(), records);
    0
}

/// Fills up to a whole block.
fn pad(len: u64, to: &mut dyn Write) -> io::Result<()> {
    let past = usize::try_from(len % BLOCK as u64).unwrap_or(0);
    if past == 0 {
        return Ok(());
    }
    to.write_all(&[0; BLOCK][past..])
}
