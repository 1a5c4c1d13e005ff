//! Puts the root file system's tree together.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use object::Object;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use orlop_images::store;
use orlop_images::tree::{Content, Meta, Node, Time, Tree};
use serde::Serialize;

use crate::host::{Inputs, UnitFile};
use crate::kernel::debs::Package;
use crate::pick::{self, List};

/// Where everything of ours lies.
const HOME: &str = "usr/lib/orlop";

/// The programs of ours that an image holds.
pub(crate) const BINARIES: [&str; 3] = ["orlop-init", "orlop-manager", "orlop-runtime"];

const MOUNT_POINTS: [&str; 9] = [
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "var",
    "etc/orlop",
    "state",
    "boot/efi",
];

/// What went into the image, for `inspect` and for whoever asks later.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BuildRecord<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) builder: &'a str,
    pub(crate) packages: Vec<Package>,
    pub(crate) initramfs_modules: Vec<&'a str>,
    pub(crate) modules: Vec<&'a str>,
    pub(crate) images: Vec<String>,
}

/// What the tree is made of.
pub(crate) struct Parts<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) binaries: &'a [(&'static str, Vec<u8>)],
    pub(crate) e2fsck: Vec<u8>,
    pub(crate) modules: &'a [List],
    pub(crate) record: &'a BuildRecord<'a>,
    pub(crate) time: u64,
}

/// Reads a program of ours.
///
/// # Errors
/// One that is not there, or that needs a dynamic linker.
pub(crate) fn binary(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    let shown = path.display();
    let bytes = fs::read(&path).with_context(|| {
        format!("{shown}: build it with `cargo build --release -p {name}`, or name its directory with --binaries")
    })?;
    check_static(&bytes).with_context(|| shown.to_string())?;
    Ok(bytes)
}

fn check_static(bytes: &[u8]) -> Result<()> {
    let file = ElfFile64::<object::Endianness>::parse(bytes).context("not a 64-bit ELF program")?;
    if file.architecture() != object::Architecture::X86_64 {
        bail!("it is for {:?}, the image for x86-64", file.architecture());
    }
    let endian = file.endian();
    let headers = file.elf_header().program_headers(endian, bytes)?;
    if headers
        .iter()
        .any(|header| header.p_type(endian) == object::elf::PT_INTERP)
    {
        bail!(
            "dynamically linked, but the image has no libraries; build with -C target-feature=+crt-static"
        );
    }
    Ok(())
}

/// The whole tree of the root.
pub(crate) fn assemble(parts: &Parts<'_>) -> Result<Tree> {
    let mut root = Root {
        tree: Tree::new(),
        time: parts.time,
    };
    root.directory("")?;
    for path in MOUNT_POINTS {
        root.directory(path)?;
    }
    for (name, bytes) in parts.binaries {
        root.file(&format!("{HOME}/bin/{name}"), 0o755, bytes.as_slice())?;
    }
    root.file(
        &format!("{HOME}/bin/e2fsck"),
        0o755,
        parts.e2fsck.as_slice(),
    )?;
    root.symlink("sbin/init", "../usr/lib/orlop/bin/orlop-init")?;
    root.symlink("etc/resolv.conf", "/run/orlop/resolv.conf")?;
    let host = &parts.inputs.host.value;
    root.file(
        "etc/os-release",
        0o644,
        os_release(&host.name, Some(&host.version)).as_bytes(),
    )?;
    let hostname = format!("{}\n", host.hostname());
    root.file("etc/hostname", 0o644, hostname.as_bytes())?;
    root.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
    root.file(
        &format!("{HOME}/host.toml"),
        0o644,
        parts.inputs.runtime.as_bytes(),
    )?;
    let mut record = serde_json::to_vec_pretty(parts.record)?;
    record.push(b'\n');
    root.file(&format!("{HOME}/build.json"), 0o644, &record)?;
    root.directory(&format!("{HOME}/units"))?;
    for UnitFile { name, bytes } in &parts.inputs.units {
        root.file(&format!("{HOME}/units/{name}"), 0o644, bytes)?;
    }
    modules(&mut root, parts.modules)?;
    images(&mut root, parts.inputs)?;
    Ok(root.tree)
}

/// `os-release(5)`. The copy in the UKI carries no version: systemd-boot would
/// sort by it before the serial in the file's name.
pub(crate) fn os_release(name: &str, version: Option<&str>) -> String {
    let mut text = format!("NAME=\"Orlop\"\nID=orlop\nIMAGE_ID={name}\n");
    match version {
        Some(version) => text.push_str(&format!(
            "PRETTY_NAME=\"Orlop {name} {version}\"\nVERSION_ID=\"{version}\"\nIMAGE_VERSION={version}\n"
        )),
        None => text.push_str(&format!("PRETTY_NAME=\"Orlop {name}\"\n")),
    }
    text
}

fn modules(root: &mut Root, lists: &[List]) -> Result<()> {
    let dir = format!("{HOME}/modules");
    root.directory(&dir)?;
    for module in pick::each(lists) {
        let path = format!("{dir}/{}", module.file_name());
        root.file(&path, 0o644, &module.read()?)?;
    }
    for list in lists {
        let path = format!("{dir}/{}", list.file);
        root.file(&path, 0o644, list.text().as_bytes())?;
    }
    Ok(())
}

fn images(root: &mut Root, inputs: &Inputs) -> Result<()> {
    let store = format!("{HOME}/images");
    root.directory(&store)?;
    let entries: Vec<store::IndexEntry> =
        inputs.images.iter().map(store::IndexEntry::from).collect();
    root.file(
        &format!("{store}/{}", store::INDEX),
        0o644,
        &store::index_json(&entries)?,
    )?;
    for image in &inputs.images {
        let tree = store::layout(image).map_err(|error| anyhow!("{}: {error}", image.reference))?;
        root.tree
            .graft(store.as_bytes(), &tree)
            .map_err(|error| anyhow!("{}: {error}", image.reference))?;
    }
    root.stamp(&store)
}

/// The tree under way; everything that is ours carries the image's time.
struct Root {
    tree: Tree,
    time: u64,
}

impl Root {
    fn meta(&self, mode: u32) -> Meta {
        let mtime = Time {
            secs: self.time as i64,
            nanos: 0,
        };
        Meta {
            mtime,
            ..Meta::with_mode(mode)
        }
    }

    fn put(&mut self, path: &str, node: Node) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        self.tree
            .put(path.as_bytes(), node)
            .map_err(|error| anyhow!("in the image: {error}"))?;
        Ok(())
    }

    /// The directory with its parents.
    fn directory(&mut self, path: &str) -> Result<()> {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            self.stamp(&path[..end])?;
        }
        Ok(())
    }

    /// Puts a directory where one may be already.
    fn stamp(&mut self, path: &str) -> Result<()> {
        let node = Node::dir(self.meta(0o755));
        self.tree
            .put(path.as_bytes(), node)
            .map_err(|error| anyhow!("in the image: {error}"))?;
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let node = Node::file(self.meta(mode), Content::from_bytes(bytes));
        self.put(path, node)
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut node = Node::symlink(target);
        node.meta = self.meta(0o777);
        self.put(path, node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_and_other_files_are_refused() {
        let busybox = fs::read("/bin/busybox").unwrap();
        check_static(&busybox).unwrap();
        let shell = fs::read("/bin/sh").unwrap();
        assert!(
            check_static(&shell)
                .unwrap_err()
                .to_string()
                .contains("dynamically linked")
        );
        assert!(check_static(b"#!/bin/sh").is_err());
        let error = binary(Path::new("/nowhere"), "orlop-init")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nowhere/orlop-init") && error.contains("cargo build"),
            "{error}"
        );
    }

    #[test]
    fn the_boot_entrys_os_release_has_no_version() {
        assert!(!os_release("demo", None).contains("VERSION"));
        assert!(os_release("demo", Some("1.2")).contains("PRETTY_NAME=\"Orlop demo 1.2\""));
    }
}
