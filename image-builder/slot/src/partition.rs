//! Partitions of the disk: their labels, by which PID 1 finds them, and their types.

use std::fmt;

/// One of the two places that a host image can be installed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first; a factory image fills it.
    A,
    /// The second; empty in a factory image.
    B,
}

impl Slot {
    /// The other one: where an update goes.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A partition of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// EFI system partition.
    Esp,
    /// A slot's root, EROFS.
    Root(Slot),
    /// The hash tree of a slot's root.
    Verity(Slot),
    /// What lasts, ext4.
    State,
}

impl Partition {
    /// All of them, in the order in which they lie on the disk. State is the last, so that it can
    /// grow to the disk's end.
    pub const ALL: [Partition; 6] = [
        Partition::Esp,
        Partition::Root(Slot::A),
        Partition::Verity(Slot::A),
        Partition::Root(Slot::B),
        Partition::Verity(Slot::B),
        Partition::State,
    ];

    /// The partition's name in the GPT.
    pub fn label(self) -> &'static str {
        match self {
            Partition::Esp => "esp",
            Partition::Root(Slot::A) => "root-a",
            Partition::Root(Slot::B) => "root-b",
            Partition::Verity(Slot::A) => "verity-a",
            Partition::Verity(Slot::B) => "verity-b",
            Partition::State => "state",
        }
    }

    /// The partition with this name in the GPT.
    pub fn from_label(label: &str) -> Option<Partition> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.label() == label)
    }

    /// The partition's type, in lower case, from the Discoverable Partitions Specification.
    ///
    /// State is the specification's "generic Linux data partition": its type for `/var` demands a
    /// partition UUID derived from the machine id, which no image can know beforehand.
    pub fn type_guid(self) -> &'static str {
        match self {
            Partition::Esp => "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            Partition::Root(_) => "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            Partition::Verity(_) => "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
            Partition::State => "0fc63daf-8483-4772-8e79-3d69d8477de4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lead_back() {
        for partition in Partition::ALL {
            assert_eq!(Partition::from_label(partition.label()), Some(partition));
            // UEFI 2.10, table 5-6: the name has room for 36 UTF-16 units.
            assert!(partition.label().len() <= 36);
        }
        assert_eq!(Partition::from_label("Root-A"), None);
        assert_eq!(Slot::A.other(), Slot::B);
        assert_eq!(Slot::B.other().other(), Slot::B);
    }

    /// Rows of the specification's table, as `identifier = type`.
    const SPECIFICATION: &str = include_str!("../discoverable-partitions.txt");

    #[test]
    fn types_are_the_specifications() {
        let named = |partition| match partition {
            Partition::Esp => "SD_GPT_ESP",
            Partition::Root(_) => "SD_GPT_ROOT_X86_64",
            Partition::Verity(_) => "SD_GPT_ROOT_X86_64_VERITY",
            Partition::State => "SD_GPT_LINUX_GENERIC",
        };
        for partition in Partition::ALL {
            let row = format!("{} = {}", named(partition), partition.type_guid());
            assert!(SPECIFICATION.lines().any(|line| line == row), "{row}");
        }
    }
}
