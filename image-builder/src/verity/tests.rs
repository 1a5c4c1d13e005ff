//! Trees against `veritysetup`, which is the yardstick.

use std::fs::{self, File};

use crate::tool::tool;

use super::{BLOCK, Superblock, VerityError, build, size};

#[test]
fn trees_are_those_of_veritysetup() {
    for blocks in [2u64, 127, 128, 129, 300, 16384, 16385] {
        let dir = tempfile::tempdir().unwrap();
        let (data, hash) = (dir.path().join("data"), dir.path().join("hash"));
        let bytes: Vec<u8> = (0..blocks * BLOCK)
            .map(|n| (n / 4096 * 7 + n % 251) as u8)
            .collect();
        fs::write(&data, bytes).unwrap();
        let salt = [0x5au8; 32];
        let uuid = uuid::Uuid::from_bytes([3; 16]);
        let output = tool("veritysetup")
            .args([
                "format",
                "--salt",
                &"5a".repeat(32),
                "--uuid",
                &uuid.to_string(),
            ])
            .args([&data, &hash])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let superblock = Superblock {
            uuid: uuid.into_bytes(),
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

#[test]
fn superblocks_read_back_and_foreign_ones_are_refused() {
    let superblock = Superblock {
        uuid: [1; 16],
        data_blocks: 1 << 33,
        salt: vec![4; 32],
    };
    let good = superblock.encode();
    assert_eq!(Superblock::decode(&good).unwrap(), superblock);
    for at in [0, 8, 12, 33, 64, 69, 81] {
        let mut bad = good;
        bad[at] ^= 0x40;
        assert!(
            matches!(Superblock::decode(&bad), Err(VerityError::Superblock(_))),
            "byte {at}"
        );
    }
}

#[test]
fn too_little_data_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    let superblock = |data_blocks| Superblock {
        uuid: [0; 16],
        data_blocks,
        salt: vec![],
    };
    assert!(matches!(
        build(&file, 0, &superblock(1)),
        Err(VerityError::Length(4096))
    ));
    assert!(matches!(
        build(&file, 0, &superblock(9)),
        Err(VerityError::Read(_))
    ));
}
