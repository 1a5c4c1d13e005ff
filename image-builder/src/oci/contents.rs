//! The file tree of the image.

use std::fs;
use std::io::{self, Seek as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use orlop_images::rootfs;
use orlop_images::source::Options;
use orlop_images::tree::{Content, Meta, Node, Time, Tree};

use super::args::{FileSpec, OciArgs};
use super::elf;

/// Files of a directory given to `--file`, at most.
const FILES_MAX: usize = 100_000;
/// Files up to this many bytes stay in memory; larger ones go to a temporary
/// file, all to the same, so that many of them do not use up descriptors.
const IN_MEMORY: u64 = 64 << 10;

/// What the image will hold.
pub(super) struct Contents {
    pub(super) tree: Tree,
    /// The program that `--binary` put in, by its path in the image.
    pub(super) program: Option<String>,
    /// What was left out of the rootfs.
    pub(super) notes: Vec<String>,
}

/// Reads all inputs.
pub(super) fn collect(args: &OciArgs, created: Timestamp) -> Result<Contents> {
    if args.rootfs.is_none() && args.files.is_empty() && args.binary.is_none() {
        bail!("nothing to put into the image; give --file, --binary or --rootfs");
    }
    let (mut tree, notes) = match &args.rootfs {
        Some(tar) => rootfs::read(tar, &Options::default())?,
        None => (Tree::new(), Vec::new()),
    };
    let mut adder = Adder {
        tree: &mut tree,
        time: time(created),
        left: FILES_MAX,
        spool: None,
    };
    if args.rootfs.is_none() {
        adder.put(b"", Node::dir(adder.meta(0o755)))?;
    }
    let mut program = None;
    if let Some(path) = &args.binary {
        let shown = || path.display().to_string();
        let name = path
            .file_name()
            .with_context(|| format!("{} has no name", shown()))?;
        let bytes = fs::read(path).with_context(|| format!("read {}", shown()))?;
        elf::check_static(&bytes, &args.architecture).with_context(shown)?;
        let node = Node::file(adder.meta(0o755), Content::from_bytes(bytes));
        adder.put(name.as_bytes(), node)?;
        let name = name
            .to_str()
            .with_context(|| format!("name of {} is not UTF-8", shown()))?;
        program = Some(format!("/{name}"));
    }
    for spec in &args.files {
        adder.add(spec)?;
    }
    Ok(Contents {
        tree,
        program,
        notes,
    })
}

/// Whole seconds: the finest that every archive format holds.
pub(super) fn time(created: Timestamp) -> Time {
    Time {
        secs: created.as_second(),
        nanos: 0,
    }
}

struct Adder<'a> {
    tree: &'a mut Tree,
    time: Time,
    left: usize,
    spool: Option<Arc<fs::File>>,
}

impl Adder<'_> {
    fn add(&mut self, spec: &FileSpec) -> Result<()> {
        let mut target = spec.target.clone();
        if target.ends_with('/') {
            let name = spec.source.file_name().and_then(|name| name.to_str());
            target += name.with_context(|| format!("{} has no name", spec.source.display()))?;
        }
        // What is named is followed; links below it are kept.
        let meta = fs::metadata(&spec.source)
            .with_context(|| format!("--file {}", spec.source.display()))?;
        self.one(
            &spec.source,
            target.trim_start_matches('/').as_bytes(),
            &meta,
            spec.mode,
        )
    }

    fn one(
        &mut self,
        source: &Path,
        target: &[u8],
        meta: &fs::Metadata,
        mode: Option<u32>,
    ) -> Result<()> {
        let shown = || source.display().to_string();
        self.left = self
            .left
            .checked_sub(1)
            .context("--file: more than 100000 files")?;
        let kind = meta.file_type();
        if kind.is_dir() {
            self.put(target, Node::dir(self.meta(0o755)))?;
            // The tree sorts; the order of reading does not matter.
            for entry in fs::read_dir(source).with_context(|| format!("read {}", shown()))? {
                let entry = entry.with_context(|| format!("read {}", shown()))?;
                let below = [target, b"/", entry.file_name().as_bytes()].concat();
                let meta = entry
                    .metadata()
                    .with_context(|| format!("read {}", shown()))?;
                self.one(&entry.path(), &below, &meta, mode)?;
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let link = fs::read_link(source).with_context(|| format!("read {}", shown()))?;
            let mut node = Node::symlink(link.into_os_string().into_vec());
            node.meta.mtime = self.time;
            return self.put(target, node);
        }
        if !kind.is_file() {
            bail!(
                "{} is neither a file, a directory nor a symbolic link",
                shown()
            );
        }
        let default = if meta.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        let content = if meta.len() <= IN_MEMORY {
            Content::from_bytes(fs::read(source).with_context(|| format!("read {}", shown()))?)
        } else {
            self.spool(source)
                .with_context(|| format!("copy {}", shown()))?
        };
        self.put(
            target,
            Node::file(self.meta(mode.unwrap_or(default)), content),
        )
    }

    fn spool(&mut self, source: &Path) -> Result<Content> {
        let spool = match &self.spool {
            Some(spool) => Arc::clone(spool),
            None => Arc::clone(self.spool.insert(Arc::new(tempfile::tempfile()?))),
        };
        let start = (&*spool).stream_position()?;
        let len = io::copy(&mut fs::File::open(source)?, &mut &*spool)?;
        Ok(Content::from_file(spool, start, len))
    }

    fn meta(&self, mode: u32) -> Meta {
        Meta {
            mtime: self.time,
            ..Meta::with_mode(mode)
        }
    }

    /// Puts a node, and gives the directories that this makes the image's time.
    fn put(&mut self, target: &[u8], node: Node) -> Result<()> {
        for (at, _) in target.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = &target[..at];
            if self.tree.resolve(parent)?.is_none() {
                self.tree.put(parent, Node::dir(self.meta(0o755)))?;
            }
        }
        self.tree.put(target, node)?;
        Ok(())
    }
}
