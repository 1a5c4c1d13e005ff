//! Instruction sets, and their system calls by name.

mod aarch64;
mod arm;
mod x32;
mod x86;
mod x86_64;

use oci_spec::runtime::Arch;

/// An instruction set that a kernel of ours may run programs of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    X86,
    /// Pointers of 32 bits on x86_64; told from that by a bit in the numbers.
    X32,
    Aarch64,
    Arm,
}

/// __X32_SYSCALL_BIT.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Numbers from here on are not given to new system calls: arm has a few of its own there.
const PRIVATE: u32 = 0x1_0000;
/// The same of x32.
const X32_PRIVATE: u32 = 512;

/// Calls that i386 also has as one call for many: its name, and the first argument that stands
/// for the call (include/uapi/linux/net.h and ipc.h).
#[rustfmt::skip]
const MULTIPLEXED: &[(&str, &str, u64)] = &[
    ("socket", "socketcall", 1), ("bind", "socketcall", 2), ("connect", "socketcall", 3),
    ("listen", "socketcall", 4), ("accept", "socketcall", 5), ("getsockname", "socketcall", 6),
    ("getpeername", "socketcall", 7), ("socketpair", "socketcall", 8), ("send", "socketcall", 9),
    ("recv", "socketcall", 10), ("sendto", "socketcall", 11), ("recvfrom", "socketcall", 12),
    ("shutdown", "socketcall", 13), ("setsockopt", "socketcall", 14),
    ("getsockopt", "socketcall", 15), ("sendmsg", "socketcall", 16),
    ("recvmsg", "socketcall", 17), ("accept4", "socketcall", 18), ("recvmmsg", "socketcall", 19),
    ("sendmmsg", "socketcall", 20), ("semop", "ipc", 1), ("semget", "ipc", 2),
    ("semctl", "ipc", 3), ("semtimedop", "ipc", 4), ("msgsnd", "ipc", 11), ("msgrcv", "ipc", 12),
    ("msgget", "ipc", 13), ("msgctl", "ipc", 14), ("shmat", "ipc", 21), ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23), ("shmctl", "ipc", 24),
];

impl Machine {
    #[cfg(target_arch = "x86_64")]
    pub(super) const NATIVE: Machine = Machine::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub(super) const NATIVE: Machine = Machine::Aarch64;

    /// What a profile names; `None` for what neither x86_64 nor aarch64 ever run.
    pub(super) fn of(arch: Arch, native: Machine) -> Option<Machine> {
        match arch {
            Arch::ScmpArchNative => Some(native),
            Arch::ScmpArchX86 => Some(Machine::X86),
            Arch::ScmpArchX86_64 => Some(Machine::X86_64),
            Arch::ScmpArchX32 => Some(Machine::X32),
            Arch::ScmpArchAarch64 => Some(Machine::Aarch64),
            Arch::ScmpArchArm => Some(Machine::Arm),
            Arch::ScmpArchMips
            | Arch::ScmpArchMips64
            | Arch::ScmpArchMips64n32
            | Arch::ScmpArchMipsel
            | Arch::ScmpArchMipsel64
            | Arch::ScmpArchMipsel64n32
            | Arch::ScmpArchPpc
            | Arch::ScmpArchPpc64
            | Arch::ScmpArchPpc64le
            | Arch::ScmpArchS390
            | Arch::ScmpArchS390x
            | Arch::ScmpArchParisc
            | Arch::ScmpArchParisc64
            | Arch::ScmpArchRiscv64
            | Arch::ScmpArchLoongarch64
            | Arch::ScmpArchM68k
            | Arch::ScmpArchSh
            | Arch::ScmpArchSheb => None,
        }
    }

    /// Whether a kernel of `native` runs its programs.
    pub(super) fn runs_on(self, native: Machine) -> bool {
        match self {
            Machine::X86_64 | Machine::X86 | Machine::X32 => native == Machine::X86_64,
            Machine::Aarch64 | Machine::Arm => native == Machine::Aarch64,
        }
    }

    /// AUDIT_ARCH_* of linux/audit.h.
    pub(super) fn audit(self) -> u32 {
        match self {
            Machine::X86_64 | Machine::X32 => 0xc000_003e,
            Machine::X86 => 0x4000_0003,
            Machine::Aarch64 => 0xc000_00b7,
            Machine::Arm => 0x4000_0028,
        }
    }

    /// Whether the arguments of a call have 32 bits.
    pub(super) fn has_short_words(self) -> bool {
        match self {
            Machine::X86 | Machine::Arm => true,
            Machine::X86_64 | Machine::X32 | Machine::Aarch64 => false,
        }
    }

    /// The number of the system call `name`, or `None` when there is none of that name.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        match self {
            Machine::X86_64 => find(x86_64::NAMES, name),
            Machine::X86 => find(x86::NAMES, name),
            Machine::X32 => find(x32::NAMES, name)
                .or_else(|| find(x86_64::NAMES, name))
                .map(|number| number | X32_BIT),
            Machine::Aarch64 => find(aarch64::NAMES, name),
            Machine::Arm => find(arm::NAMES, name),
        }
    }

    /// Whether the number is of the common ones, which grow with each kernel.
    pub(super) fn is_common(self, number: u32) -> bool {
        match self {
            Machine::X32 => number & !X32_BIT < X32_PRIVATE,
            Machine::X86_64 | Machine::X86 | Machine::Aarch64 | Machine::Arm => number < PRIVATE,
        }
    }

    /// The number of the call that can do the same, and the first argument that asks for it.
    pub(super) fn multiplexed(self, name: &str) -> Option<(u32, u64)> {
        if self != Machine::X86 {
            return None;
        }
        let (_, call, argument) = MULTIPLEXED.iter().find(|(known, ..)| *known == name)?;
        Some((self.number(call)?, *argument))
    }
}

fn find(names: &[(u32, &str)], name: &str) -> Option<u32> {
    let found = names.binary_search_by_key(&name, |(_, known)| known);
    found
        .ok()
        .and_then(|index| names.get(index))
        .map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_known() {
        for names in [
            x86_64::NAMES,
            x86::NAMES,
            x32::NAMES,
            aarch64::NAMES,
            arm::NAMES,
        ] {
            assert!(names.is_sorted_by(|(_, a), (_, b)| a < b));
            let numbers: std::collections::BTreeSet<u32> = names.iter().map(|(n, _)| *n).collect();
            assert_eq!(numbers.len(), names.len());
        }
        for (name, numbers) in [
            ("read", [Some(0), Some(3), Some(X32_BIT), Some(63), Some(3)]),
            (
                "execve",
                [Some(59), Some(11), Some(X32_BIT | 520), Some(221), Some(11)],
            ),
            (
                "clone3",
                [
                    Some(435),
                    Some(435),
                    Some(X32_BIT | 435),
                    Some(435),
                    Some(435),
                ],
            ),
            ("open", [Some(2), Some(5), Some(X32_BIT | 2), None, Some(5)]),
            ("socketcall", [None, Some(102), None, None, None]),
            ("set_tls", [None, None, None, None, Some(0xf_0005)]),
            ("no_such_call", [None; 5]),
        ] {
            let machines = [
                Machine::X86_64,
                Machine::X86,
                Machine::X32,
                Machine::Aarch64,
                Machine::Arm,
            ];
            assert_eq!(
                machines.map(|machine| machine.number(name)),
                numbers,
                "{name}"
            );
        }
    }

    #[test]
    fn every_multiplexed_call_leads_to_one_of_i386() {
        for (name, ..) in MULTIPLEXED {
            assert!(Machine::X86.multiplexed(name).is_some(), "{name}");
        }
        assert_eq!(Machine::X86.multiplexed("shmat"), Some((117, 21)));
        assert_eq!(Machine::Arm.multiplexed("shmat"), None);
    }
}
