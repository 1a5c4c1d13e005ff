//! The 512 bytes at the start of a hash partition.

use crate::error::hex;
use crate::{BLOCK, Level, Part, ReadAt, VerityError, levels};

const SIGNATURE: &[u8; 8] = b"verity\0\0";
const ALGORITHM: &[u8] = b"sha256";
const SALT_MAX: usize = 256;
const SALT_TOO_LONG: &str = "the salt is longer than 256 bytes";
/// More bytes than this no file has.
const DATA_MAX: u64 = 1 << 63;

/// What `veritysetup dump` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of the hash tree.
    pub uuid: [u8; 16],
    /// Number of data blocks.
    pub data_blocks: u64,
    /// Salt before each block: 0 to 256 bytes.
    pub salt: Vec<u8>,
}

impl Superblock {
    /// Bytes on disk.
    pub const SIZE: usize = 512;

    /// The superblock as written; a salt over 256 bytes is cut.
    pub fn encode(&self) -> [u8; Superblock::SIZE] {
        let salt = &self.salt[..self.salt.len().min(SALT_MAX)];
        let mut out = [0; Superblock::SIZE];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, SIGNATURE);
        put(8, &1u32.to_le_bytes());
        put(12, &1u32.to_le_bytes());
        put(16, &self.uuid);
        put(32, ALGORITHM);
        put(64, &(BLOCK as u32).to_le_bytes());
        put(68, &(BLOCK as u32).to_le_bytes());
        put(72, &self.data_blocks.to_le_bytes());
        put(80, &(salt.len() as u16).to_le_bytes());
        put(88, salt);
        out
    }

    /// Reads a superblock.
    ///
    /// # Errors
    /// Another signature, version, algorithm or block size than ours.
    pub fn decode(bytes: &[u8; Superblock::SIZE]) -> Result<Superblock, VerityError> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let checks = [
            (&bytes[..8] == SIGNATURE, "the signature is missing"),
            (
                word(8) == 1 && word(12) == 1,
                "it is not version 1 with hash type 1",
            ),
            (
                bytes[32..64]
                    .strip_prefix(ALGORITHM)
                    .is_some_and(|rest| rest.iter().all(|b| *b == 0)),
                "the hash is not sha256",
            ),
            (
                word(64) == BLOCK as u32 && word(68) == BLOCK as u32,
                "blocks are not 4096 bytes",
            ),
        ];
        if let Some((_, problem)) = checks.iter().find(|(good, _)| !good) {
            return Err(VerityError::Superblock(problem));
        }
        let salt_len = usize::from(u16::from_le_bytes([bytes[80], bytes[81]]));
        if salt_len > SALT_MAX {
            return Err(VerityError::Superblock(SALT_TOO_LONG));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[16..32]);
        let data_blocks = u64::from(word(72)) | u64::from(word(76)) << 32;
        Ok(Superblock {
            uuid,
            data_blocks,
            salt: bytes[88..88 + salt_len].to_vec(),
        })
    }

    /// Reads the superblock at the start of a hash partition.
    ///
    /// # Errors
    /// It cannot be read, or as [`Superblock::decode`].
    pub fn read(tree: &impl ReadAt) -> Result<Superblock, VerityError> {
        let mut bytes = [0; Superblock::SIZE];
        fill(tree, &mut bytes)?;
        Superblock::decode(&bytes)
    }

    /// The first block of the hash partition.
    pub(crate) fn block(&self) -> [u8; BLOCK as usize] {
        let mut block = [0; BLOCK as usize];
        block[..Superblock::SIZE].copy_from_slice(&self.encode());
        block
    }

    /// The levels of a tree that can be built.
    pub(crate) fn levels(&self) -> Result<Vec<Level>, VerityError> {
        if self.data_blocks < 2 || self.data_blocks > DATA_MAX / BLOCK {
            return Err(VerityError::Length(self.data_blocks.saturating_mul(BLOCK)));
        }
        if self.salt.len() > SALT_MAX {
            return Err(VerityError::Superblock(SALT_TOO_LONG));
        }
        Ok(levels(self.data_blocks))
    }

    /// Compares with the first block of a hash partition.
    pub(crate) fn compare(&self, tree: &dyn ReadAt) -> Result<(), VerityError> {
        let mut block = [0; BLOCK as usize];
        fill(tree, &mut block)?;
        let mut bytes = [0; Superblock::SIZE];
        bytes.copy_from_slice(&block[..Superblock::SIZE]);
        let stored = Superblock::decode(&bytes)?;
        let blocks = |superblock: &Superblock| superblock.data_blocks.to_string();
        let salt = |superblock: &Superblock| match superblock.salt.as_slice() {
            [] => "empty".to_owned(),
            salt => hex(salt),
        };
        let fields = [
            ("the number of data blocks", blocks(self), blocks(&stored)),
            ("the salt", salt(self), salt(&stored)),
            ("the UUID", hex(&self.uuid), hex(&stored.uuid)),
        ];
        for (what, expected, found) in fields {
            if expected != found {
                return Err(VerityError::OtherSuperblock {
                    what,
                    expected,
                    found,
                });
            }
        }
        if block != self.block() {
            return Err(VerityError::Superblock("what should be zero is not"));
        }
        Ok(())
    }
}

fn fill(tree: &dyn ReadAt, bytes: &mut [u8]) -> Result<(), VerityError> {
    tree.fill_at(bytes, 0).map_err(|error| VerityError::Read {
        part: Part::Superblock,
        at: 0,
        error,
    })
}
