//! The initramfs: PID 1 and the modules that finding the root needs.

use anyhow::{Context, Result};

use crate::cpio::{Entry, archive};
use crate::pick::{self, List};
use crate::request::Compression;

/// Packs PID 1, the modules of `lists` and the lists.
pub(crate) fn pack(init: &[u8], lists: &[List], compression: Compression) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    for list in lists {
        files.push((format!("modules/{}", list.file), list.text().into_bytes()));
    }
    for module in pick::each(lists) {
        files.push((format!("modules/{}", module.file_name()), module.read()?));
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
