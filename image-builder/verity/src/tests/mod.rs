//! What the tests share: data in memory, with its tree.

mod checking;
mod superblock;
mod veritysetup;
mod writing;

use std::io;
use std::ops::ControlFlow;
use std::sync::Mutex;

use crate::{BLOCK, HASH, ReadAt, Superblock, VerityError, WriteAt, build, check};

/// On both sides of where a block is full and of where a level is added.
const SIZES: [u64; 7] = [2, 127, 128, 129, 300, 16384, 16385];

/// A partition in memory, and what was done with it.
struct Memory {
    bytes: Mutex<Vec<u8>>,
    /// Offset and length of each reading.
    read: Mutex<Vec<(u64, usize)>>,
    /// Offset and length of each writing.
    written: Mutex<Vec<(u64, usize)>>,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            read: Mutex::default(),
            written: Mutex::default(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    fn flip(&self, at: usize, bits: u8) {
        self.bytes.lock().unwrap()[at] ^= bits;
    }

    fn cut(&self, len: usize) {
        self.bytes.lock().unwrap().truncate(len);
    }
}

impl ReadAt for Memory {
    fn fill_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.lock().unwrap().push((offset, bytes.len()));
        let own = self.bytes.lock().unwrap();
        let start = offset as usize;
        let there = own.get(start..start + bytes.len());
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl WriteAt for Memory {
    fn put_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.lock().unwrap().push((offset, bytes.len()));
        let mut own = self.bytes.lock().unwrap();
        let start = offset as usize;
        let room = own.get_mut(start..start + bytes.len());
        room.ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// Data with its tree, as `build` makes it.
struct Case {
    superblock: Superblock,
    data: Memory,
    tree: Memory,
    root_hash: [u8; HASH],
}

impl Case {
    fn new(data_blocks: u64) -> Self {
        let superblock = Superblock {
            uuid: [3; 16],
            data_blocks,
            salt: vec![0x5a; 32],
        };
        let mut bytes = Vec::new();
        for number in 0..data_blocks {
            bytes.extend(number.to_le_bytes());
            bytes.resize(bytes.len() + BLOCK as usize - 8, number as u8);
        }
        let data = Memory::new(bytes);
        let tree = build(&data, 0, &superblock).unwrap();
        data.read.lock().unwrap().clear();
        Self {
            superblock,
            data,
            root_hash: tree.root_hash,
            tree: Memory::new(tree.bytes),
        }
    }

    fn check(&self) -> Result<(), VerityError> {
        let (superblock, root_hash) = (&self.superblock, &self.root_hash);
        check(&self.data, &self.tree, superblock, root_hash, &mut go_on)
    }
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
