//! Trees against `veritysetup`, which is the yardstick.

use std::fs::{self, File};
use std::process::Command;

use super::SIZES;
use crate::{BLOCK, Superblock, build, size};

/// The command `veritysetup`, looked for also in the directories of administration, which a user's
/// `PATH` may lack.
fn veritysetup() -> Command {
    let mut command = Command::new("veritysetup");
    let own = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{own}:/usr/sbin:/sbin"));
    command
}

#[test]
fn trees_are_those_of_veritysetup() {
    for blocks in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let (data, hash) = (dir.path().join("data"), dir.path().join("hash"));
        let bytes: Vec<u8> = (0..blocks * BLOCK)
            .map(|n| (n / 4096 * 7 + n % 251) as u8)
            .collect();
        fs::write(&data, bytes).unwrap();
        let salt = [0x5au8; 32];
        let uuid = "03030303-0303-0303-0303-030303030303";
        let output = veritysetup()
            .args(["format", "--salt", &"5a".repeat(32), "--uuid", uuid])
            .args([&data, &hash])
            .output()
            .expect("veritysetup (Debian package cryptsetup-bin)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let superblock = Superblock {
            uuid: [3; 16],
            data_blocks: blocks,
            salt: salt.to_vec(),
        };
        let tree = build(&File::open(&data).unwrap(), 0, &superblock).unwrap();
        assert!(tree.bytes == fs::read(&hash).unwrap(), "{blocks} blocks");
        assert_eq!(tree.bytes.len() as u64, size(blocks));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&tree.root_hash_hex()), "{text}");
    }
}
