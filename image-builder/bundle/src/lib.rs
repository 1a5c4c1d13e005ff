//! The update bundle: what a host is updated with, as one file and as published for a web server.
//!
//! A bundle holds the two things that a slot is made of, the root and the unified kernel image
//! (UKI), cut into chunks by their content, so that a host fetches only the chunks that it does not
//! have. (The hash tree is computed by the host, and checked against the root hash.)
//!
//! ```text
//! NAME-VERSION.orlop
//!   head     magic, format, three lengths                   (head)
//!            manifest: JSON, the part that is signed        (manifest)
//!            signatures and endorsements of keys            (key, signature)
//!            index: which chunks make root and UKI          (index)
//!   chunks   each once, compressed, in order of first use   (chunk, pack, read)
//!
//! DIR/NAME.head                the head of the newest version
//! DIR/NAME-VERSION.head        the head of each version
//! DIR/chunks/ab/<sha256>.zst   every chunk of all of them   (names)
//! ```
//!
//! A signature covers the manifest's bytes; the manifest has the digest of the index; the index has
//! the digest of each chunk. So whatever is changed in a bundle is found, and each chunk can be
//! checked by itself, wherever it comes from. Trust in one is a matter of keys
//! ([`Head::verify`]); whether a host has use for it is asked afterwards ([`refusal`]).
//!
//! This crate reads from and writes to whatever it is given. It must know no network, no disk and
//! no host, and no untrusted length makes it allocate more than the limits of its parts: about
//! 12 MiB for the largest index, 64 KiB for a manifest, and two chunks.

mod accept;
pub mod chunk;
mod error;
mod head;
mod hex;
mod index;
mod key;
mod manifest;
mod names;
mod pack;
mod read;
mod signature;
mod version;

pub use accept::{Refusal, Running, refusal};
pub use error::{BundleError, ChunkError};
pub use head::{Head, MAGIC, Trusted};
pub use hex::{Digest, Hex};
pub use index::{Entry, Index, Missing, Part, Use};
pub use key::{KeyError, PublicKey, SecretKey};
pub use manifest::{ARCHITECTURE, Content, FORMAT, Manifest, ManifestError, Verity};
pub use names::{bundle_name, chunk_path, head_name, newest_name};
pub use pack::Packer;
pub use read::{Chunk, Chunks};
pub use signature::{Endorsement, SIGNERS_MAX, SignatureError, Signatures};
pub use version::compare;
