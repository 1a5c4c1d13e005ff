//! What is asked of a build, and what it answers.

use std::path::PathBuf;

use serde::Serialize;

/// Form of the disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// The disk's bytes, sparse.
    #[default]
    Raw,
    /// QEMU's format, through qemu-img.
    Qcow2,
}

/// How the initramfs is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Compression {
    /// Not at all: the fastest to boot, as it is small anyway.
    #[default]
    None,
    /// Zstandard, which kernels from 5.9 on unpack.
    Zstd,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The host TOML; paths in it are relative to its directory.
    pub host: PathBuf,
    /// The disk image to write.
    pub output: PathBuf,
    /// Its form.
    pub format: Format,
    /// Directory of what is kept between builds.
    pub cache: PathBuf,
    /// Directory of `orlop-init`, `orlop-manager`, `orlop-runtime` and
    /// `orlop-loader`, static.
    pub binaries: PathBuf,
    /// Directory of the host's own `host.crt` and `host.key`; without it the host
    /// makes its own at its first boot.
    pub pki: Option<PathBuf>,
    /// Private keys that sign the update bundle; without any, none is written.
    pub sign: Vec<PathBuf>,
    /// Endorsements that go into it: old keys' words for new ones.
    pub endorsements: Vec<PathBuf>,
    /// How the initramfs is packed.
    pub compression: Compression,
    /// Time that every file of the image carries, in seconds since 1970.
    pub time: u64,
}

/// Told what goes on; must not fail and not take long.
pub trait Progress {
    /// The next step begins.
    fn step(&mut self, what: &str);
    /// Something that the builder's user should know.
    fn note(&mut self, text: &str);
}

/// What one part of the image weighs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that are there for it, if it lies in a partition.
    pub room: Option<u64>,
}

/// What was built.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// The disk image.
    pub output: PathBuf,
    /// Directory with `vmlinuz`, `initrd.img` and `cmdline`, to boot the disk
    /// without firmware.
    pub direct: PathBuf,
    /// The update bundle, if it was asked for.
    pub bundle: Option<PathBuf>,
    /// The root's verity hash, in hexadecimal.
    pub root_hash: String,
    /// What the parts weigh, in the order of the build.
    pub parts: Vec<Part>,
}
