//! The FAT file system of the boot partition, read as firmware does, and mended.
//!
//! Power may go at any instant, and Linux's vfat has no journal: a rename may leave two names for
//! the same clusters, and an interrupted write or removal clusters that nothing leads to. This crate
//! reads a volume (FAT16 or FAT32, sectors of 512 bytes) from anything that implements [`ReadAt`],
//! and plans what mends it: [`mend`] writes nothing. Every value on the disk is checked before it is
//! used, and every walk is bounded.
//!
//! Where firmware and Linux read the same bytes differently, EDK2's `FatPkg/EnhancedFatDxe` is
//! followed. What a model of crashes has to know of the differences:
//!
//! | on the disk                        | EDK2                         | Linux's vfat              |
//! |------------------------------------|------------------------------|---------------------------|
//! | slot that begins with 0x00         | the directory ends           | free; it reads on         |
//! | long name: how it is found         | backwards from the short one | forwards                  |
//! | long-name slot, bytes 26 and 27    | must be 0                    | ignored                   |
//! | long name torn, or wrong checksum  | 8.3 name                     | 8.3 name                  |
//! | directory's chain meets a free one | the directory looks empty    | error, set read-only      |
//! | chain value 0x0FFFFFF7 (bad)       | error                        | end of the chain          |
//! | 8.3 name, first byte 0x05          | as it is                     | 0xE5                      |
//! | 8.3 name, bytes from 0x80 on       | Latin-1                      | code page 437             |
//! | free clusters in FSINFO            | believed if they can be      | believed with `usefree`   |

mod chain;
mod directory;
mod error;
mod geometry;
mod mend;
mod name;
mod plan;
mod reader;
mod source;
mod table;
mod tree;
mod volume;

pub use chain::Fault;
pub use directory::Entry;
pub use error::FatError;
pub use mend::mend;
pub use plan::{Mend, Patch};
pub use reader::FileReader;
pub use source::ReadAt;
pub use volume::{Space, Volume};

/// Bytes of a sector; volumes with others are refused.
pub const SECTOR: usize = 512;
