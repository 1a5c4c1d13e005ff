//! Superblocks, ours and others.

use std::ops::ControlFlow;

use proptest::prelude::*;

use crate::{
    BLOCK, HASH, Level, Part, Superblock, VerityError, build, check_tree, leaf_offset, levels,
    size, write,
};

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
        Err(VerityError::Read {
            part: Part::Data,
            at: 0,
            ..
        })
    ));
}

#[test]
fn more_data_than_a_file_has_and_too_long_a_salt_are_errors() {
    let file = tempfile::tempfile().unwrap();
    let superblock = |data_blocks, salt| Superblock {
        uuid: [0; 16],
        data_blocks,
        salt: vec![1; salt],
    };
    for (data_blocks, salt) in [(u64::MAX, 0), ((1 << 51) + 1, 0), (9, 257)] {
        let superblock = superblock(data_blocks, salt);
        let errors = [
            build(&file, 0, &superblock).unwrap_err(),
            check_tree(&file, &superblock, &[0; HASH]).unwrap_err(),
            write(
                &file,
                &file,
                &superblock,
                &mut |_| ControlFlow::Continue(()),
            )
            .unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(error, VerityError::Length(_) | VerityError::Superblock(_)),
                "{error}"
            );
        }
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn levels_follow_each_other_up_to_the_end() {
    let level = |start, blocks, hashes| Level {
        start: start * BLOCK,
        blocks,
        hashes,
    };
    let cases = [
        (2, vec![level(1, 1, 2)]),
        (128, vec![level(1, 1, 128)]),
        (129, vec![level(2, 2, 129), level(1, 1, 2)]),
        (
            16385,
            vec![level(4, 129, 16385), level(2, 2, 129), level(1, 1, 2)],
        ),
    ];
    for (data_blocks, expected) in cases {
        assert_eq!(levels(data_blocks), expected, "{data_blocks} blocks");
        let last = leaf_offset(data_blocks, data_blocks - 1);
        assert!((size(data_blocks) - BLOCK..size(data_blocks)).contains(&last));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), Superblock::SIZE),
        ours in any::<bool>(),
        salt_len in 0u16..300,
    ) {
        if ours {
            let good = Superblock { uuid: [0; 16], data_blocks: 2, salt: vec![] }.encode();
            bytes[..72].copy_from_slice(&good[..72]);
            bytes[80..82].copy_from_slice(&salt_len.to_le_bytes());
        }
        let bytes: [u8; Superblock::SIZE] = bytes.try_into().unwrap();
        match Superblock::decode(&bytes) {
            Ok(superblock) => {
                prop_assert_eq!(Superblock::decode(&superblock.encode()).unwrap(), superblock.clone());
                // What it says is not believed: none of these may overflow.
                let _ = size(superblock.data_blocks);
                let _ = leaf_offset(superblock.data_blocks, u64::MAX);
            }
            Err(_) => prop_assert!(!ours || salt_len > 256),
        }
    }

    #[test]
    fn any_superblock_reads_back(
        uuid in any::<[u8; 16]>(),
        data_blocks in any::<u64>(),
        salt in prop::collection::vec(any::<u8>(), 0..=256),
    ) {
        let superblock = Superblock { uuid, data_blocks, salt };
        prop_assert_eq!(Superblock::decode(&superblock.encode()).unwrap(), superblock);
    }
}
