//! Where on the volume things are, from its boot sector.
//!
//! What one of EDK2 and Linux refuses is refused here, too: a boot partition has to suit both.

use crate::SECTOR;
use crate::error::FatError;

/// Volumes up to this size are read; a boot partition has 512 MiB by default.
const BYTES_MAX: u64 = 16 << 30;
/// The most clusters: what 16 GiB have by the usual cluster sizes. Bounds all tables in memory.
const CLUSTERS_MAX: u32 = 1 << 22;
/// With fewer clusters a volume is FAT12, which is refused.
const FAT16_CLUSTERS_MIN: u32 = 0xFF5;
/// With fewer clusters a volume is FAT16.
const FAT32_CLUSTERS_MIN: u32 = 0xFFF5;

/// How wide an entry of the allocation table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fat16,
    Fat32,
}

impl Kind {
    /// Bytes of an entry.
    pub(crate) fn width(self) -> u32 {
        match self {
            Kind::Fat16 => 2,
            Kind::Fat32 => 4,
        }
    }
}

/// Where the root directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// FAT16: in a place of its own.
    Fixed { offset: u64, bytes: u32 },
    /// FAT32: in a chain like any other.
    Chain(u32),
}

/// The parts of a volume; offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) kind: Kind,
    pub(crate) cluster_bytes: u32,
    /// How many there are; they are counted from 2 on.
    pub(crate) clusters: u32,
    /// Offset of the first allocation table, the one that is read.
    pub(crate) table: u64,
    /// Bytes of one table.
    pub(crate) table_bytes: u64,
    /// How many tables there are, one behind the other.
    pub(crate) tables: u8,
    pub(crate) root: Root,
    /// Offset of cluster 2.
    pub(crate) data: u64,
    /// Offset of the FSINFO sector.
    pub(crate) info: Option<u64>,
}

impl Geometry {
    /// Reads a boot sector.
    pub(crate) fn parse(boot: &[u8; SECTOR]) -> Result<Geometry, FatError> {
        let half = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let or = |short: u16, long: u32| if short == 0 { long } else { u32::from(short) };
        demand(half(11) == 512, "512 bytes a sector", || {
            format!("{} bytes a sector", half(11))
        })?;
        let cluster_sectors = boot[13];
        let valid = cluster_sectors.is_power_of_two();
        demand(valid, "a power of two as sectors a cluster", || {
            format!("{cluster_sectors} sectors a cluster")
        })?;
        let (reserved, tables, fixed) = (half(14), boot[16], half(17));
        demand(reserved > 0, "a reserved sector", || "none".into())?;
        let valid = (1..=4).contains(&tables);
        demand(valid, "1 to 4 allocation tables", || {
            format!("{tables} allocation tables")
        })?;
        let media = boot[21];
        let valid = media == 0xF0 || media >= 0xF8;
        demand(valid, "media 0xf0 or from 0xf8 on", || {
            format!("media {media:#x}")
        })?;
        let sectors = or(half(19), word(32));
        let size = u64::from(sectors) * SECTOR as u64;
        let valid = (1..=BYTES_MAX).contains(&size);
        demand(valid, "at most 16 GiB", || format!("{size} bytes"))?;
        let kind = match half(22) {
            0 => Kind::Fat32,
            _ => Kind::Fat16,
        };
        let table_sectors = u64::from(or(half(22), word(36)));
        let root_sectors = root_sectors(kind, fixed)?;
        let table = u64::from(reserved);
        let root = table + u64::from(tables) * table_sectors;
        let data = root + u64::from(root_sectors);
        let room = u64::from(sectors).saturating_sub(data) / u64::from(cluster_sectors);
        let clusters = u32::try_from(room).unwrap_or(u32::MAX);
        check_clusters(kind, clusters, table_sectors)?;
        let root = match kind {
            Kind::Fat16 => Root::Fixed {
                offset: root * SECTOR as u64,
                bytes: root_sectors * SECTOR as u32,
            },
            Kind::Fat32 => Root::Chain(root_cluster(half(40), half(42), word(44), clusters)?),
        };
        // Linux takes 0 for 1, EDK2 for none.
        let has_info = kind == Kind::Fat32 && (1..reserved).contains(&half(48));
        Ok(Geometry {
            kind,
            cluster_bytes: u32::from(cluster_sectors) * SECTOR as u32,
            clusters,
            table: table * SECTOR as u64,
            table_bytes: table_sectors * SECTOR as u64,
            tables,
            root,
            data: data * SECTOR as u64,
            info: has_info.then(|| u64::from(half(48)) * SECTOR as u64),
        })
    }

    /// Whether a cluster of this number exists.
    pub(crate) fn has(&self, cluster: u32) -> bool {
        (2..self.end()).contains(&cluster)
    }

    /// The number after the last cluster's.
    pub(crate) fn end(&self) -> u32 {
        self.clusters + 2
    }

    /// Offset of a cluster that exists.
    pub(crate) fn offset(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster.saturating_sub(2)) * u64::from(self.cluster_bytes)
    }
}

fn demand(
    valid: bool,
    expected: &'static str,
    found: impl FnOnce() -> String,
) -> Result<(), FatError> {
    if valid {
        return Ok(());
    }
    let found = found();
    Err(FatError::Boot { found, expected })
}

fn root_sectors(kind: Kind, slots: u16) -> Result<u32, FatError> {
    let (valid, expected) = match kind {
        Kind::Fat16 => (
            slots > 0 && slots.is_multiple_of(16),
            "root slots in whole sectors for FAT16",
        ),
        Kind::Fat32 => (slots == 0, "no fixed root slots for FAT32"),
    };
    demand(valid, expected, || format!("{slots} root slots"))?;
    Ok(u32::from(slots) * 32 / SECTOR as u32)
}

fn check_clusters(kind: Kind, clusters: u32, table_sectors: u64) -> Result<(), FatError> {
    let (valid, expected) = match kind {
        Kind::Fat16 => (
            (FAT16_CLUSTERS_MIN..FAT32_CLUSTERS_MIN).contains(&clusters),
            "4085 to 65524 clusters for FAT16 (FAT12 is not read)",
        ),
        Kind::Fat32 => (
            (FAT32_CLUSTERS_MIN..=CLUSTERS_MAX).contains(&clusters),
            "65525 to 4194304 clusters for FAT32",
        ),
    };
    demand(valid, expected, || format!("{clusters} clusters"))?;
    let needed = (u64::from(clusters) + 2) * u64::from(kind.width());
    let valid = table_sectors * SECTOR as u64 >= needed;
    demand(valid, "an entry for each cluster", || {
        format!("allocation tables of {table_sectors} sectors")
    })
}

fn root_cluster(flags: u16, version: u16, cluster: u32, clusters: u32) -> Result<u32, FatError> {
    demand(flags & 0x80 == 0, "tables that are kept alike", || {
        format!("the flags {flags:#x}, by which only one table counts")
    })?;
    demand(version == 0, "version 0 of FAT32", || {
        format!("version {version:#x} of FAT32")
    })?;
    let valid = (2..clusters + 2).contains(&cluster);
    demand(valid, "a root cluster on the volume", || {
        format!("root cluster {cluster}")
    })?;
    Ok(cluster)
}
