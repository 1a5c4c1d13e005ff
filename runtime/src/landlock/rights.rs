//! The rights of landlock(7), by the names that they have there less their prefixes, and the
//! version of Landlock that brought each.

/// A right that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) name: &'static str,
    /// The number of its bit.
    bit: u32,
    /// The first version that knows it.
    pub(super) since: u32,
}

const fn right(name: &'static str, bit: u32, since: u32) -> Right {
    Right { name, bit, since }
}

/// `LANDLOCK_ACCESS_FS_*`.
pub(super) const FILES: &[Right] = &[
    right("execute", 0, 1),
    right("write_file", 1, 1),
    right("read_file", 2, 1),
    right("read_dir", 3, 1),
    right("remove_dir", 4, 1),
    right("remove_file", 5, 1),
    right("make_char", 6, 1),
    right("make_dir", 7, 1),
    right("make_reg", 8, 1),
    right("make_sock", 9, 1),
    right("make_fifo", 10, 1),
    right("make_block", 11, 1),
    right("make_sym", 12, 1),
    right("refer", 13, 2),
    right("truncate", 14, 3),
    right("ioctl_dev", 15, 5),
    right("resolve_unix", 16, 9),
];

/// `LANDLOCK_ACCESS_NET_*`.
pub(super) const PORTS: &[Right] = &[
    right("bind_tcp", 0, 4),
    right("connect_tcp", 1, 4),
    right("bind_udp", 2, 10),
    right("connect_send_udp", 3, 10),
];

/// `LANDLOCK_SCOPE_*`.
pub(super) const SCOPES: &[Right] = &[right("abstract_unix_socket", 0, 6), right("signal", 1, 6)];

pub(super) const MAKE_CHAR: u64 = 1 << 6;
pub(super) const MAKE_BLOCK: u64 = 1 << 11;
pub(super) const REFER: u64 = 1 << 13;
pub(super) const ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;

/// What can be allowed at a file that is no directory: execute, write_file, read_file, truncate,
/// ioctl_dev, resolve_unix.
pub(super) const OF_NO_DIRECTORY: u64 = 0b111 | 1 << 14 | 1 << 15 | 1 << 16;

impl Right {
    pub(super) const fn mask(&self) -> u64 {
        1 << self.bit
    }
}

/// Those of `rights` that this version knows.
pub(super) fn known(rights: &[Right], abi: u32) -> u64 {
    let known = rights.iter().filter(|right| right.since <= abi);
    known.fold(0, |mask, right| mask | right.mask())
}

/// The rights of a mask.
pub(super) fn named(rights: &'static [Right], mask: u64) -> impl Iterator<Item = &'static Right> {
    rights.iter().filter(move |right| mask & right.mask() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_bit() {
        for rights in [FILES, PORTS, SCOPES] {
            let all = known(rights, u32::MAX);
            assert_eq!(all.count_ones() as usize, rights.len());
            assert_eq!(all.trailing_ones() as usize, rights.len());
            assert!(rights.is_sorted_by_key(|right| right.since), "{rights:?}");
        }
        let mask = |rights, name| named(rights, u64::MAX).find(|right: &&Right| right.name == name);
        for (rights, name, expected) in [
            (FILES, "make_char", MAKE_CHAR),
            (FILES, "make_block", MAKE_BLOCK),
            (FILES, "refer", REFER),
            (SCOPES, "abstract_unix_socket", ABSTRACT_UNIX_SOCKET),
        ] {
            assert_eq!(
                mask(rights, name).map(Right::mask),
                Some(expected),
                "{name}"
            );
        }
    }

    /// The kernel has to know just those that its version says.
    #[test]
    fn the_kernel_is_asked() {
        use orlop_sys::landlock::{Handled, Ruleset, abi};
        let Ok(abi) = abi() else {
            let why = "this kernel has no Landlock";
            assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return;
        };
        let takes = |handled: Handled| Ruleset::new(handled).is_ok();
        for (rights, of) in [
            (
                FILES,
                (|files| Handled {
                    files,
                    ..Handled::default()
                }) as fn(u64) -> Handled,
            ),
            (PORTS, |ports| Handled {
                ports,
                ..Handled::default()
            }),
            (SCOPES, |scopes| Handled {
                scopes,
                ..Handled::default()
            }),
        ] {
            for right in rights {
                assert_eq!(
                    takes(of(right.mask())),
                    right.since <= abi,
                    "{right:?}, {abi}"
                );
            }
        }
    }
}
