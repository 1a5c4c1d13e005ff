//! What PID 1 found while booting, left as a file for the manager and for
//! whoever reads the host's status.

use serde::{Deserialize, Serialize};

/// The content of [`crate::BOOT_REPORT_PATH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootReport {
    /// The host image's version, from `IMAGE_VERSION=` in `/etc/os-release`.
    pub version: String,
    /// The slot that the root was started from.
    pub slot: Slot,
    /// The serial of the install, from the boot loader's entry; 0 when the host
    /// was started without a boot loader.
    pub serial: u64,
    /// The file name of the entry that the boot loader started, as it says;
    /// empty without a boot loader.
    #[serde(default)]
    pub entry: String,
    /// The file name that the boot loader gave that entry when it counted this
    /// start; empty when it counted none.
    #[serde(default)]
    pub counted: String,
    /// The device of the EFI system partition on the root's disk; empty when
    /// there is none.
    #[serde(default)]
    pub esp: String,
    /// The devices of the other slot, where an update goes; none when the root's
    /// disk lacks one of them.
    #[serde(default)]
    pub other: Option<SlotDevices>,
    /// The verity root hash, 64 hexadecimal digits.
    pub root_hash: String,
    /// How the state partition fared.
    pub state: StateHealth,
    /// A sentence on it, with the way to mend it where there is something to mend.
    pub state_detail: String,
    /// `hardware:<identity>`, `softdog` or `none`.
    pub watchdog: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// `CLOCK_BOOTTIME` when PID 1 began, in milliseconds.
    pub pid1_start_ms: u64,
    /// `CLOCK_BOOTTIME` when the manager was first started, in milliseconds.
    pub manager_exec_ms: u64,
    /// How long each boot phase took, in order.
    pub phases: Vec<PhaseTime>,
}

/// The partitions of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotDevices {
    /// The root's.
    pub root: String,
    /// Its hash tree's.
    pub verity: String,
}

/// One boot phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// The phase's name, as on the console.
    pub name: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// One of the two places that a host image can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Partitions `root-a` and `verity-a`.
    A,
    /// Partitions `root-b` and `verity-b`.
    B,
}

impl Slot {
    /// The letter that partition names end with.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// How the state partition fared at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateHealth {
    /// Mounted, nothing to repair.
    Ok,
    /// Mounted after a repair.
    Repaired,
    /// Not usable: what looks lasting is in memory until the next boot.
    Tmpfs,
}
