//! Trees written while the data is read.

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;

use super::{Case, Memory, SIZES, go_on};
use crate::{BLOCK, Part, VerityError, write};

/// What was in the slot before.
fn other(len: usize) -> Memory {
    Memory::new(vec![0xee; len])
}

#[test]
fn what_is_written_is_what_is_built() {
    for blocks in SIZES {
        let case = Case::new(blocks);
        let tree = other(case.tree.len());
        let root_hash = write(&case.data, &tree, &case.superblock, &mut go_on).unwrap();
        assert_eq!(root_hash, case.root_hash, "{blocks} blocks");
        assert!(tree.bytes() == case.tree.bytes(), "{blocks} blocks");
    }
}

#[test]
fn files_are_written_like_memory() {
    let case = Case::new(300);
    let (mut data, tree) = (
        tempfile::tempfile().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    data.write_all(&case.data.bytes()).unwrap();
    let root_hash = write(&data, tree.as_file(), &case.superblock, &mut go_on).unwrap();
    assert_eq!(root_hash, case.root_hash);
    assert!(fs::read(tree.path()).unwrap() == case.tree.bytes());
}

#[test]
fn the_superblock_is_written_last_and_all_else_once_in_whole_blocks() {
    let case = Case::new(16385);
    let tree = other(case.tree.len());
    write(&case.data, &tree, &case.superblock, &mut go_on).unwrap();
    let mut written = tree.written.lock().unwrap().clone();
    assert_eq!(written.last(), Some(&(0, BLOCK as usize)));
    written.sort_unstable();
    let blocks = (0..).step_by(BLOCK as usize).map(|at| (at, BLOCK as usize));
    let expected: Vec<_> = blocks.take(case.tree.len() / BLOCK as usize).collect();
    assert_eq!(written, expected);
}

#[test]
fn the_data_is_read_once_in_pieces_of_one_mib() {
    let case = Case::new(16385);
    write(
        &case.data,
        &other(case.tree.len()),
        &case.superblock,
        &mut go_on,
    )
    .unwrap();
    let read = case.data.read.lock().unwrap();
    let mut end = 0;
    for (at, len) in read.iter() {
        assert_eq!(*at, end);
        assert!(*len <= 1 << 20);
        end += *len as u64;
    }
    assert_eq!(end, 16385 * BLOCK);
}

#[test]
fn progress_counts_up_to_the_whole_and_can_stop_it() {
    let case = Case::new(300);
    let mut told = Vec::new();
    write(
        &case.data,
        &other(case.tree.len()),
        &case.superblock,
        &mut |done| {
            told.push(done);
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!(told, [256 * BLOCK, 300 * BLOCK]);

    for stop in told {
        let tree = other(case.tree.len());
        let outcome = write(&case.data, &tree, &case.superblock, &mut |done| {
            if done == stop {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(outcome, Err(VerityError::Stopped)));
        assert!(tree.written.lock().unwrap().iter().all(|(at, _)| *at != 0));
    }
}

#[test]
fn data_that_ends_early_and_a_partition_that_is_too_small_are_errors() {
    let case = Case::new(300);
    let small = other(case.tree.len() - 1);
    let outcome = write(&case.data, &small, &case.superblock, &mut go_on);
    // 300 hashes take three blocks, the last of the partition.
    let last = case.tree.len() as u64 - BLOCK;
    assert!(
        matches!(outcome, Err(VerityError::Write { part: Part::Level(0), at, .. }) if at == last)
    );

    case.data.cut(case.data.len() - 1);
    let tree = other(case.tree.len());
    let outcome = write(&case.data, &tree, &case.superblock, &mut go_on);
    assert!(
        matches!(outcome, Err(VerityError::Read { part: Part::Data, at, .. }) if at == 256 * BLOCK)
    );
    assert!(tree.written.lock().unwrap().iter().all(|(at, _)| *at != 0));
}
