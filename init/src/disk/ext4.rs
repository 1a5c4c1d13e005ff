//! ext4's superblock: whether it asks for a check, and how long it is.
//!
//! Offsets by the kernel's Documentation/filesystems/ext4/super.rst.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const STATE_CLEAN: u16 = 1;
const STATE_ERRORS: u16 = 2;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_QUOTA: u32 = 0x100;
const RO_COMPAT_PROJECT: u32 = 0x2000;

/// The part of the superblock that PID 1 looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) blocks: u64,
    pub(crate) block_bytes: u64,
    /// Why a check is asked for, when it is.
    pub(crate) asks_for_check: Option<&'static str>,
    /// Whether it was formatted for project quotas.
    pub(crate) project_quota: bool,
}

/// Reads the superblock of `device`; `None` when there is no ext4.
pub(crate) fn read(device: &File, now_s: u64) -> io::Result<Option<Superblock>> {
    let mut bytes = [0; 1024];
    device.read_exact_at(&mut bytes, 1024)?;
    Ok(parse(&bytes, now_s))
}

fn parse(bytes: &[u8; 1024], now_s: u64) -> Option<Superblock> {
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let long =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if short(0x38) != 0xef53 {
        return None;
    }
    let block_bytes = 1024_u64
        .checked_shl(long(0x18))
        .filter(|b| *b <= 65536 && *b >= 1024)?;
    let high = if long(0x60) & INCOMPAT_64BIT == 0 {
        0
    } else {
        u64::from(long(0x150)) << 32
    };
    let state = short(0x3a);
    let (mounts, max_mounts) = (short(0x34), short(0x36));
    let (checked, interval) = (u64::from(long(0x40)), u64::from(long(0x44)));
    // The journal's replay after a power cut is the kernel's; only these are e2fsck's.
    let asks_for_check = if state & STATE_ERRORS != 0 {
        Some("errors were seen in it")
    } else if state & STATE_CLEAN == 0 {
        Some("it was not left clean")
    } else if (1..=0x7fff).contains(&max_mounts) && mounts >= max_mounts {
        Some("it was mounted often since the last check")
    } else if interval > 0 && now_s > checked.saturating_add(interval) {
        Some("the last check was long ago")
    } else {
        None
    };
    Some(Superblock {
        blocks: high | u64::from(long(0x4)),
        block_bytes,
        asks_for_check,
        project_quota: long(0x64) & RO_COMPAT_QUOTA != 0 && long(0x64) & RO_COMPAT_PROJECT != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn made(arguments: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fs");
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        let ok = Command::new("/sbin/mke2fs")
            .arg("-q")
            .args(arguments)
            .arg(&path)
            .status();
        assert!(ok.expect("mke2fs (Debian package e2fsprogs)").success());
        (dir, path)
    }

    #[test]
    fn what_mke2fs_makes_is_read() {
        let plain: &[&str] = &["-t", "ext4", "-b", "4096"];
        let quota: &[&str] = &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "quota,project",
            "-E",
            "quotatype=prjquota",
        ];
        for (arguments, block_bytes, project_quota) in [(plain, 4096, false), (quota, 1024, true)] {
            let (_dir, path) = made(arguments);
            let got = read(&File::open(&path).unwrap(), 0).unwrap().unwrap();
            assert_eq!(got.block_bytes, block_bytes);
            assert_eq!(got.blocks * block_bytes, 64 << 20);
            assert_eq!(got.project_quota, project_quota);
            assert_eq!(got.asks_for_check, None);
        }
    }

    #[test]
    fn each_reason_for_a_check_is_seen() {
        let (_dir, path) = made(&["-t", "ext4", "-b", "4096"]);
        let mut clean = [0; 1024];
        File::open(&path)
            .unwrap()
            .read_exact_at(&mut clean, 1024)
            .unwrap();
        let table: &[(&[(usize, u8)], &str)] = &[
            (&[(0x3a, 2)], "errors"),
            (&[(0x3a, 3)], "errors"),
            (&[(0x3a, 0)], "not left clean"),
            (&[(0x34, 9), (0x36, 9), (0x37, 0)], "often"),
            (&[(0x44, 1)], "long ago"),
        ];
        for (changes, want) in table {
            let mut bytes = clean;
            for (at, byte) in *changes {
                bytes[*at] = *byte;
            }
            let reason = parse(&bytes, u64::from(u32::MAX) * 2)
                .unwrap()
                .asks_for_check;
            assert!(
                reason.is_some_and(|r| r.contains(want)),
                "{reason:?} for {changes:?}"
            );
        }
        assert_eq!(parse(&[0; 1024], 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 1024)) {
            bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
            let _ = parse(&bytes.try_into().unwrap(), 5);
        }
    }
}
