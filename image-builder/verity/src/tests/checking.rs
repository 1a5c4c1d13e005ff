//! Stored trees and data, whole and changed.

use std::io;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{Case, SIZES};
use crate::{BLOCK, HASH, Part, Superblock, VerityError};
use crate::{block_hash, check, check_tree, leaf_offset, levels};

impl Case {
    fn check_tree(&self) -> Result<(), VerityError> {
        check_tree(&self.tree, &self.superblock, &self.root_hash)
    }

    /// The block around byte `at` of the tree, and its level.
    fn level_of(&self, at: usize) -> (Part, u64) {
        let at = at as u64 / BLOCK * BLOCK;
        let levels = levels(self.superblock.data_blocks);
        let level = levels.iter().position(|level| level.start <= at).unwrap();
        (Part::Level(level), at)
    }

    /// A flipped byte of the data is found, where it is, and not by the tree alone.
    fn data_flipped(&self, at: usize, bits: u8) {
        let index = at as u64 / BLOCK;
        let start = (index * BLOCK) as usize;
        let block = |case: &Case| case.data.bytes()[start..start + BLOCK as usize].to_vec();
        let good = block_hash(&self.superblock.salt, &block(self));
        self.data.flip(at, bits);
        let bad = block_hash(&self.superblock.salt, &block(self));
        let error = self.check().unwrap_err();
        let VerityError::Block {
            part,
            at: found_at,
            expected,
            found,
        } = error
        else {
            panic!("byte {at}: {error}");
        };
        assert_eq!((part, found_at), (Part::Data, start as u64), "byte {at}");
        assert_eq!((expected, found), (good, bad), "byte {at}");
        self.check_tree().unwrap();
        self.data.flip(at, bits);
    }

    /// A flipped byte of the hash partition is found, where it is.
    fn tree_flipped(&self, at: usize, bits: u8) {
        self.tree.flip(at, bits);
        for error in [self.check_tree().unwrap_err(), self.check().unwrap_err()] {
            match error {
                VerityError::Block {
                    part, at: found, ..
                } => {
                    assert_eq!((part, found), self.level_of(at), "byte {at}");
                }
                VerityError::Superblock(_) | VerityError::OtherSuperblock { .. } => {
                    assert!(at < BLOCK as usize, "byte {at}: {error}");
                }
                error => panic!("byte {at}: {error}"),
            }
        }
        self.tree.flip(at, bits);
    }
}

#[test]
fn whole_trees_are_accepted() {
    for blocks in SIZES {
        let case = Case::new(blocks);
        case.check_tree().unwrap();
        assert!(case.data.read.lock().unwrap().is_empty());
        case.check().unwrap();
        let read = case.data.read.lock().unwrap();
        assert!(read.iter().all(|(_, len)| *len <= 512 << 10));
        let sum: usize = read.iter().map(|(_, len)| len).sum();
        assert_eq!(sum as u64, blocks * BLOCK, "each block is read once");
    }
}

#[test]
fn changed_ends_of_every_level_are_found() {
    for blocks in SIZES {
        let case = Case::new(blocks);
        for level in levels(blocks) {
            let end = level.start + level.blocks * BLOCK;
            for at in [level.start, level.hash_offset(level.hashes) - 1, end - 1] {
                case.tree_flipped(at as usize, 0x10);
            }
        }
        for at in [0, BLOCK as usize, case.data.len() - 1] {
            case.data_flipped(at, 1);
        }
    }
}

#[test]
fn every_byte_of_the_superblocks_block_counts() {
    let case = Case::new(2);
    for at in 0..BLOCK as usize {
        case.tree_flipped(at, 0x80);
    }
}

#[test]
fn another_root_hash_names_the_top() {
    let mut case = Case::new(300);
    let good = case.root_hash;
    case.root_hash[31] ^= 1;
    for error in [case.check_tree().unwrap_err(), case.check().unwrap_err()] {
        let VerityError::Block {
            part,
            at,
            expected,
            found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((part, at), (Part::Level(1), BLOCK));
        assert_eq!((expected, found), (case.root_hash, good));
    }
}

#[test]
fn the_superblock_of_another_tree_is_told_by_its_field() {
    let refused = |change: fn(&mut Superblock), field: &str| {
        let mut case = Case::new(300);
        change(&mut case.superblock);
        for error in [case.check_tree().unwrap_err(), case.check().unwrap_err()] {
            assert!(
                matches!(error, VerityError::OtherSuperblock { what, .. } if what == field),
                "{error}"
            );
        }
        // Nor is one that says the same as the caller taken for the tree's.
        let encoded = case.superblock.encode();
        case.tree.bytes.lock().unwrap()[..Superblock::SIZE].copy_from_slice(&encoded);
        (case.check_tree(), case.check())
    };
    let other = |outcome| {
        matches!(
            outcome,
            Err(VerityError::Block {
                part: Part::Level(1),
                ..
            })
        )
    };
    let (tree, both) = refused(|superblock| superblock.salt[0] ^= 1, "the salt");
    assert!(other(tree) && other(both));
    let (tree, both) = refused(|superblock| superblock.salt.clear(), "the salt");
    assert!(other(tree) && other(both));
    // (The tree says nothing of a UUID.)
    let (tree, both) = refused(|superblock| superblock.uuid[0] ^= 1, "the UUID");
    assert!(tree.is_ok() && both.is_ok());
}

#[test]
fn another_number_of_blocks_is_refused_even_if_the_superblock_says_so() {
    for data_blocks in [
        2,
        3,
        128,
        129,
        257,
        299,
        301,
        384,
        385,
        16384,
        16385,
        1 << 51,
    ] {
        let mut case = Case::new(300);
        case.superblock.data_blocks = data_blocks;
        let error = case.check_tree().unwrap_err();
        assert!(
            matches!(error, VerityError::OtherSuperblock { .. }),
            "{error}"
        );
        let encoded = case.superblock.encode();
        case.tree.bytes.lock().unwrap()[..Superblock::SIZE].copy_from_slice(&encoded);
        // To the tree alone it may look right: the top block of this one as the only level of a
        // smaller one, or the room behind the last hash as hashes. The data never does.
        assert!(case.check().is_err(), "{data_blocks}");
    }
}

#[test]
fn hashes_behind_the_last_are_found_whatever_stands_above() {
    let mut case = Case::new(2);
    case.tree.flip(BLOCK as usize + 2 * HASH, 1);
    case.root_hash = block_hash(&case.superblock.salt, &case.tree.bytes()[BLOCK as usize..]);
    let error = case.check_tree().unwrap_err();
    assert!(
        matches!(
            error,
            VerityError::Padding {
                part: Part::Level(0),
                at: BLOCK
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_cut_off_is_an_error() {
    for len in [0, 100, 4095, 4096, 8191, 8192, 4096 * 4, 4096 * 5 - 1] {
        let case = Case::new(300);
        case.tree.cut(len);
        for error in [case.check_tree().unwrap_err(), case.check().unwrap_err()] {
            let VerityError::Read { error, .. } = error else {
                panic!("{len}: {error}");
            };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
    let case = Case::new(300);
    case.data.cut(case.data.len() - 1);
    case.check_tree().unwrap();
    let error = case.check().unwrap_err();
    assert!(
        matches!(
            error,
            VerityError::Read {
                part: Part::Data,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn checking_tells_how_far_it_is_and_can_be_stopped() {
    let case = Case::new(300);
    let mut told = Vec::new();
    let outcome = check(
        &case.data,
        &case.tree,
        &case.superblock,
        &case.root_hash,
        &mut |done| {
            told.push(done / BLOCK);
            ControlFlow::Continue(())
        },
    );
    outcome.unwrap();
    assert_eq!(told, [128, 256, 300]);
    let outcome = check(
        &case.data,
        &case.tree,
        &case.superblock,
        &case.root_hash,
        &mut |_| ControlFlow::Break(()),
    );
    assert!(matches!(outcome, Err(VerityError::Stopped)));
}

#[test]
fn the_place_of_each_blocks_hash_is_known() {
    for blocks in [2, 129, 300, 16385] {
        let case = Case::new(blocks);
        let (data, tree) = (case.data.bytes(), case.tree.bytes());
        assert_eq!(Superblock::read(&case.tree).unwrap(), case.superblock);
        for (index, block) in data.chunks_exact(BLOCK as usize).enumerate() {
            let at = leaf_offset(blocks, index as u64) as usize;
            let hash = block_hash(&case.superblock.salt, block);
            assert_eq!(tree[at..at + HASH], hash, "{index} of {blocks}");
        }
    }
}

/// A size, a place in what is of that size, and the bits to change there.
fn flips() -> impl Strategy<Value = (u64, prop::sample::Index, u8)> {
    let sizes = prop::sample::select(vec![2, 127, 128, 129, 300]);
    (sizes, any::<prop::sample::Index>(), 1u8..)
}

proptest! {
    #[test]
    fn any_changed_byte_of_the_data_is_found((blocks, at, bits) in flips()) {
        let case = Case::new(blocks);
        case.data_flipped(at.index(case.data.len()), bits);
    }

    #[test]
    fn any_changed_byte_of_the_tree_is_found((blocks, at, bits) in flips()) {
        let case = Case::new(blocks);
        case.tree_flipped(at.index(case.tree.len()), bits);
    }
}
