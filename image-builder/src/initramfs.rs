//! The initramfs: PID 1 and the modules that finding the root needs.

use std::fs;

use anyhow::{Context, Result};

use crate::cpio::{Entry, archive};
use crate::kernel::modules::Module;
use crate::request::Compression;

/// Modules between the kernel and its root. Those that this kernel has built
/// in, or has not at all, are left out.
pub(crate) const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "nvme",
    "ahci",
    "sd_mod",
    "sha256_ssse3",
    "dm_verity",
    "erofs",
];

/// Of those, the ones that only a kernel for real hardware gets: a virtual
/// machine that needs one says so in its host TOML, and boots faster without.
pub(crate) const METAL_MODULES: &[&str] = &["nvme", "ahci", "sd_mod"];

/// Whether the kernel in this package is for virtual machines alone.
pub(crate) fn is_virtual(package: &str) -> bool {
    package.contains("cloud")
}

/// Packs PID 1 and `modules` in the order to load them.
pub(crate) fn pack(init: &[u8], modules: &[Module], compression: Compression) -> Result<Vec<u8>> {
    let mut order = String::new();
    let mut files = Vec::new();
    for module in modules {
        let bytes =
            fs::read(&module.file).with_context(|| format!("reading {}", module.file.display()))?;
        order.push_str(&format!("{}.ko\n", module.name));
        files.push((format!("modules/{}.ko", module.name), bytes));
    }
    let mut entries: Vec<(String, Entry<'_>)> = ["dev", "modules", "proc", "run", "sys", "sysroot"]
        .iter()
        .map(|name| ((*name).to_owned(), Entry::Directory))
        .collect();
    // So that PID 1 has a console before it mounts /dev.
    entries.push((
        "dev/console".to_owned(),
        Entry::CharDevice { major: 5, minor: 1 },
    ));
    entries.push((
        "init".to_owned(),
        Entry::File {
            bytes: init,
            executable: true,
        },
    ));
    let text = order.as_bytes();
    entries.push((
        "modules/order".to_owned(),
        Entry::File {
            bytes: text,
            executable: false,
        },
    ));
    for (path, bytes) in &files {
        entries.push((
            path.clone(),
            Entry::File {
                bytes,
                executable: false,
            },
        ));
    }
    let archive = archive(&entries);
    match compression {
        Compression::None => Ok(archive),
        Compression::Zstd => {
            zstd::encode_all(archive.as_slice(), 19).context("packing the initramfs")
        }
    }
}
