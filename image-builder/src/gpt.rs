//! The partition table: where each partition lies, with types of the
//! Discoverable Partitions Specification.
//!
//! An update never writes the table, so every size and identifier is fixed
//! here. It must not know what the partitions hold.

use std::collections::BTreeMap;
use std::fs::File;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};
use orlop_slot::Partition as Role;
use thiserror::Error;
use uuid::Uuid;

use crate::identity::Identity;

/// Partitions start on multiples of this.
pub const ALIGNMENT: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// Where a partition lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Where all partitions lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// By role.
    pub extents: BTreeMap<Role, Extent>,
    /// Bytes of the whole disk.
    pub disk_size: u64,
}

/// Why a table could not be written.
#[derive(Debug, Error)]
pub enum TableError {
    /// The gpt crate's refusal.
    #[error("partition table: {0}")]
    Gpt(String),
}

impl Layout {
    /// Places partitions of these sizes (rounded up to MiB) one after the
    /// other. A larger disk leaves its room behind the last, where the state
    /// partition grows into it at first boot.
    pub fn new(sizes: &BTreeMap<Role, u64>, disk_size: Option<u64>) -> Layout {
        let mut at = ALIGNMENT;
        let mut extents = BTreeMap::new();
        for role in Role::ALL {
            let len = sizes
                .get(&role)
                .copied()
                .unwrap_or(0)
                .next_multiple_of(ALIGNMENT);
            extents.insert(role, Extent { start: at, len });
            at += len;
        }
        // The backup table takes the last 33 sectors.
        let least = at + ALIGNMENT;
        let disk_size = disk_size
            .unwrap_or(0)
            .next_multiple_of(ALIGNMENT)
            .max(least);
        Layout { extents, disk_size }
    }

    /// One partition's place.
    pub fn extent(&self, role: Role) -> Extent {
        self.extents
            .get(&role)
            .copied()
            .unwrap_or(Extent { start: 0, len: 0 })
    }
}

fn guid_of(role: Role) -> Uuid {
    // The table of orlop-slot is tested against the specification's text.
    Uuid::parse_str(role.type_guid()).unwrap_or_default()
}

/// Writes protective MBR, table and backup table to `disk`, which must have
/// its full length already.
///
/// # Errors
/// Writing, and what the gpt crate refuses.
pub fn write(disk: &mut File, layout: &Layout, identity: &Identity<'_>) -> Result<(), TableError> {
    let failed = |error: &dyn std::fmt::Display| TableError::Gpt(error.to_string());
    let sectors = layout.disk_size / SECTOR;
    let mbr_sectors = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(mbr_sectors)
        .overwrite_lba0(disk)
        .map_err(|e| failed(&e))?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(disk, Some(identity.uuid("disk")))
        .map_err(|e| failed(&e))?;
    let mut partitions = BTreeMap::new();
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let extent = layout.extent(role);
        partitions.insert(
            index as u32 + 1,
            Partition {
                part_type_guid: Type {
                    guid: guid_of(role),
                    os: OperatingSystem::None,
                },
                part_guid: identity.uuid(role.label()),
                first_lba: extent.start / SECTOR,
                last_lba: (extent.start + extent.len) / SECTOR - 1,
                flags: 0,
                name: role.label().to_owned(),
            },
        );
    }
    table
        .update_partitions(partitions)
        .map_err(|e| failed(&e))?;
    table.write().map_err(|e| failed(&e))?;
    Ok(())
}

/// Reads a table; partitions by name, whatever their number.
///
/// # Errors
/// A disk without a valid table.
pub fn read(disk: &mut File) -> Result<Vec<(String, Uuid, Extent)>, TableError> {
    let table = GptConfig::new()
        .writable(false)
        .open_from_device(disk)
        .map_err(|error| TableError::Gpt(error.to_string()))?;
    Ok(table
        .partitions()
        .values()
        .filter(|partition| partition.is_used())
        .map(|partition| {
            let start = partition.first_lba * SECTOR;
            let len = (partition.last_lba + 1)
                .saturating_mul(SECTOR)
                .saturating_sub(start);
            (
                partition.name.clone(),
                partition.part_type_guid.guid,
                Extent { start, len },
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::tool;
    use orlop_slot::Slot;

    #[test]
    fn sfdisk_finds_the_table_good_and_two_are_equal() {
        let identity = Identity {
            name: "demo",
            version: "1",
        };
        let mib = |n: u64| n << 20;
        let sizes = BTreeMap::from([
            (Role::Esp, mib(64)),
            (Role::Root(Slot::A), mib(20) + 1),
            (Role::Verity(Slot::A), mib(1)),
            (Role::Root(Slot::B), mib(20)),
            (Role::Verity(Slot::B), mib(1)),
            (Role::State, mib(160)),
        ]);
        let layout = Layout::new(&sizes, None);
        let make = || {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(layout.disk_size).unwrap();
            write(file.as_file_mut(), &layout, &identity).unwrap();
            file
        };
        let (mut one, two) = (make(), make());
        assert!(std::fs::read(one.path()).unwrap() == std::fs::read(two.path()).unwrap());
        let output = tool("sfdisk")
            .arg("--verify")
            .arg(one.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.success() && text.contains("No errors detected"),
            "{text}"
        );
        let found = read(one.as_file_mut()).unwrap();
        let expected: Vec<_> = Role::ALL
            .iter()
            .map(|role| {
                (
                    role.label().to_owned(),
                    guid_of(*role),
                    layout.extent(*role),
                )
            })
            .collect();
        assert_eq!(found, expected);
    }
}
