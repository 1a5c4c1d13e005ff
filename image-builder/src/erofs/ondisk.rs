//! The numbers of the on-disk format (`fs/erofs/erofs_fs.h`) and the encoding
//! of superblock, inodes and extended meta.

use super::{BLOCK, ErofsError, Volume};
use orlop_images::tree::{Kind, Node, Xattrs};

/// Where the superblock starts; what lies before is free for boot sectors.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Inodes lie on multiples of this, and their number counts in it.
pub(super) const SLOT: u64 = 32;
const SUPER_SIZE: u64 = 128;
const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_SUPERBLOCK_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const LAYOUT_FLAT_PLAIN: u16 = 0;
const LAYOUT_FLAT_INLINE: u16 = 2;

/// First byte after the superblock.
pub(super) const FIRST_INODE: u64 = SUPER_OFFSET + SUPER_SIZE;

/// Where an inode's data is and how it looks; decided by the layout.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placement {
    /// Byte offset of the inode in the volume.
    pub(super) offset: u64,
    /// Bytes of data, all of it.
    pub(super) size: u64,
    /// First block of the data that is not inline.
    pub(super) block: u32,
    /// Whether the last, partial block of the data follows the inode.
    pub(super) inline_tail: bool,
    /// Number of names, as `stat` tells it.
    pub(super) links: u32,
}

impl Placement {
    pub(super) fn nid(&self) -> u64 {
        self.offset / SLOT
    }
}

/// Whether the 32 byte form can hold the inode.
pub(super) fn is_compact(inode: &Node, size: u64, links: u32, volume: &Volume) -> bool {
    let meta = &inode.meta;
    let own_time = meta.mtime.secs != volume.time as i64 || meta.mtime.nanos != 0;
    let fits = |id: u32| u16::try_from(id).is_ok();
    !own_time && fits(meta.uid) && fits(meta.gid) && fits(links) && u32::try_from(size).is_ok()
}

/// Bytes of the inode itself, without extended meta.
pub(super) fn inode_size(compact: bool) -> u64 {
    if compact { 32 } else { 64 }
}

fn type_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Dir(_) => 0o040_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Char(_) => 0o020_000,
        Kind::Block(_) => 0o060_000,
        Kind::Fifo => 0o010_000,
    }
}

/// The `FT_*` number that directory entries carry.
pub(super) fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Dir(_) => 2,
        Kind::Char(_) => 3,
        Kind::Block(_) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// The kernel's `new_encode_dev`.
fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The inode with its extended meta.
pub(super) fn encode_inode(
    inode: &Node,
    place: &Placement,
    xattrs: &[u8],
    volume: &Volume,
) -> Vec<u8> {
    let compact = is_compact(inode, place.size, place.links, volume);
    let layout = if place.inline_tail {
        LAYOUT_FLAT_INLINE
    } else {
        LAYOUT_FLAT_PLAIN
    };
    let format = (layout << 1) | u16::from(!compact);
    let data = match inode.kind {
        Kind::Char(device) | Kind::Block(device) => encode_device(device.major, device.minor),
        Kind::Dir(_) | Kind::File(_) | Kind::Symlink(_) | Kind::Fifo => place.block,
    };
    let meta = &inode.meta;
    let mode = type_bits(&inode.kind) | (meta.mode as u16 & 0o7777);
    let mut out = Vec::with_capacity(64 + xattrs.len());
    out.extend(format.to_le_bytes());
    out.extend(xattr_count(xattrs.len()).to_le_bytes());
    out.extend(mode.to_le_bytes());
    // The number that a 32-bit stat shows; the kernel itself uses the nid.
    let number = (place.nid() as u32).to_le_bytes();
    if compact {
        out.extend((place.links as u16).to_le_bytes());
        out.extend((place.size as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(data.to_le_bytes());
        out.extend(number);
        out.extend((meta.uid as u16).to_le_bytes());
        out.extend((meta.gid as u16).to_le_bytes());
        out.extend([0; 4]);
    } else {
        out.extend([0; 2]);
        out.extend(place.size.to_le_bytes());
        out.extend(data.to_le_bytes());
        out.extend(number);
        out.extend(meta.uid.to_le_bytes());
        out.extend(meta.gid.to_le_bytes());
        out.extend(meta.mtime.secs.to_le_bytes());
        out.extend(meta.mtime.nanos.to_le_bytes());
        out.extend(place.links.to_le_bytes());
        out.extend([0; 16]);
    }
    out.extend_from_slice(xattrs);
    out
}

/// `i_xattr_icount`: the header of 12 bytes counts as one, then words.
fn xattr_count(len: usize) -> u16 {
    if len == 0 {
        0
    } else {
        ((len - 12) / 4 + 1) as u16
    }
}

/// Extended attributes as they follow an inode, in the order of their names.
///
/// # Errors
/// A namespace that EROFS has no number for, or too much of it.
pub(super) fn encode_xattrs(xattrs: &Xattrs) -> Result<Vec<u8>, ErofsError> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = vec![0u8; 12];
    for (name, value) in xattrs {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let (index, rest) = namespace(name).ok_or_else(|| ErofsError::XattrNamespace(shown()))?;
        let name_len = u8::try_from(rest.len()).map_err(|_| ErofsError::XattrTooLong(shown()))?;
        let size = u16::try_from(value.len()).map_err(|_| ErofsError::XattrTooLong(shown()))?;
        out.extend([name_len, index]);
        out.extend(size.to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        if out.len() >= 4 * usize::from(u16::MAX) {
            return Err(ErofsError::XattrTooLong(shown()));
        }
    }
    Ok(out)
}

fn namespace(name: &[u8]) -> Option<(u8, &[u8])> {
    const EXACT: [(&[u8], u8); 2] = [
        (b"system.posix_acl_access", 2),
        (b"system.posix_acl_default", 3),
    ];
    const PREFIX: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    if let Some((_, index)) = EXACT.iter().find(|(full, _)| *full == name) {
        return Some((*index, &[]));
    }
    PREFIX.iter().find_map(|(prefix, index)| {
        let rest = name.strip_prefix(*prefix)?;
        (!rest.is_empty()).then_some((*index, rest))
    })
}

/// The superblock, with its checksum still zero.
pub(super) fn encode_superblock(
    volume: &Volume,
    root_nid: u16,
    inodes: u64,
    blocks: u32,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(SUPER_SIZE as usize);
    out.extend(MAGIC.to_le_bytes());
    out.extend([0; 4]);
    out.extend((COMPAT_SUPERBLOCK_CHECKSUM | COMPAT_MTIME).to_le_bytes());
    out.extend([BLOCK.trailing_zeros() as u8, 0]);
    out.extend(root_nid.to_le_bytes());
    out.extend(inodes.to_le_bytes());
    out.extend(volume.time.to_le_bytes());
    out.extend([0; 4]);
    out.extend(blocks.to_le_bytes());
    out.extend([0; 8]);
    out.extend(volume.uuid);
    let mut label = [0u8; 16];
    for (to, from) in label.iter_mut().zip(volume.label.bytes().take(15)) {
        *to = from;
    }
    out.extend(label);
    out.resize(SUPER_SIZE as usize, 0);
    out
}

/// Where the checksum lies in the superblock.
pub(super) const CHECKSUM_AT: usize = 4;

/// CRC-32C as the kernel's `crc32c(~0, …)` gives it: reflected, not inverted
/// at the end.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1))
        })
    })
}
