//! Writes an initramfs archive: cpio in the "newc" form that the kernel reads
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Deterministic: inode numbers count up, times and owners are zero, entries
//! come in the order given. It must not know what boots from it.

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A directory.
    Directory,
    /// A regular file that may be executed, or not.
    File {
        /// The bytes.
        bytes: &'a [u8],
        /// Whether mode is 0755 instead of 0644.
        executable: bool,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// An archive of `entries`: paths without a leading slash, parents first.
pub fn archive(entries: &[(String, Entry<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, (path, entry)) in entries.iter().enumerate() {
        let (mode, links, bytes, device): (u32, u32, &[u8], (u32, u32)) = match *entry {
            Entry::Directory => (0o040_755, 2, &[], (0, 0)),
            Entry::File {
                bytes,
                executable: true,
            } => (0o100_755, 1, bytes, (0, 0)),
            Entry::File {
                bytes,
                executable: false,
            } => (0o100_644, 1, bytes, (0, 0)),
            Entry::CharDevice { major, minor } => (0o020_600, 1, &[], (major, minor)),
        };
        put(
            &mut out,
            path,
            [
                number as u32 + 1,
                mode,
                links,
                bytes.len() as u32,
                device.0,
                device.1,
            ],
            bytes,
        );
    }
    put(&mut out, "TRAILER!!!", [0, 0, 1, 0, 0, 0], &[]);
    // The kernel wants whole words; whole sectors are what cpio itself writes.
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn put(out: &mut Vec<u8>, path: &str, fields: [u32; 6], bytes: &[u8]) {
    let [inode, mode, links, size, major, minor] = fields;
    let name_len = path.len() as u32 + 1;
    out.extend_from_slice(b"070701");
    // inode, mode, uid, gid, links, mtime, size, device, rdev, name, checksum
    for field in [
        inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_len, 0,
    ] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn busybox_lists_and_extracts_what_went_in() {
        let entries = [
            ("dev".to_owned(), Entry::Directory),
            (
                "init".to_owned(),
                Entry::File {
                    bytes: b"#!/bin/sh\n",
                    executable: true,
                },
            ),
            (
                "odd name".to_owned(),
                Entry::File {
                    bytes: b"12345",
                    executable: false,
                },
            ),
        ];
        let archive = archive(&entries);
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("busybox")
            .args(["cpio", "-i", "-d"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(dir.path().join("dev").is_dir());
        assert_eq!(
            std::fs::read(dir.path().join("odd name")).unwrap(),
            b"12345"
        );
        assert_eq!(
            std::fs::read(dir.path().join("init")).unwrap(),
            b"#!/bin/sh\n"
        );
    }
}
