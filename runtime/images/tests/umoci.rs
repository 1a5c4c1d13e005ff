//! A store's tree against umoci's unpacking of the same image, name by name.
#![allow(missing_docs, reason = "a test")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_images::source::Source;
use orlop_images::store::{Ownership, Store};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use support::Layer;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs umoci; says whether it is installed.
fn umoci(words: &[&str], dir: &Path) -> bool {
    let mut command = Command::new("umoci");
    command.args(words).current_dir(dir);
    if words[0] == "unpack" && !is_root() {
        command.arg("--rootless");
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = "umoci is not installed, so nothing is compared";
            assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
            eprintln!("{why}");
            return false;
        }
        Err(error) => panic!("umoci: {error}"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "umoci {words:?}: {errors}");
    true
}

fn lower(root: &Path) {
    for dir in [
        "usr/bin",
        "usr/lib/deep/er",
        "etc/opaque/sub",
        "gone/away",
        "becomes-file",
        "tmp",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/etc/hosts", root.join("etc/absolute")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for (path, text) in [
        ("usr/bin/tool", "tool"),
        ("usr/bin/ping", "ping"),
        ("usr/lib/deep/er/file", "x"),
        ("etc/opaque/old", "old"),
        ("etc/opaque/sub/old", "old"),
        ("etc/removed", "removed"),
        ("etc/hosts", "127.0.0.1 localhost"),
        ("gone/away/file", "gone"),
        ("becomes-file/x", "x"),
        ("becomes-dir", "file"),
        ("one", "one"),
        ("name with spaces \u{e4}\u{f6}", "utf-8"),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(
        root.join("usr/lib/long").with_file_name("n".repeat(200)),
        "long",
    )
    .unwrap();
    fs::hard_link(root.join("one"), root.join("usr/two")).unwrap();
    fs::hard_link(root.join("one"), root.join("etc/three")).unwrap();
    rustix::fs::mknodat(
        CWD,
        root.join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    if is_root() {
        for (path, uid, gid) in [
            ("usr/bin/tool", 1000, 50),
            ("etc", 3, 4),
            ("one", 300_000_000, 7),
        ] {
            std::os::unix::fs::lchown(root.join(path), Some(uid), Some(gid)).unwrap();
        }
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        rustix::fs::setxattr(
            root.join("usr/bin/ping"),
            "security.capability",
            capability,
            XattrFlags::empty(),
        )
        .unwrap();
    }
    for (path, mode) in [
        ("usr/bin/tool", 0o4711),
        ("tmp", 0o1777),
        ("usr/lib/deep", 0o2750),
    ] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn upper(root: &Path) {
    fs::remove_file(root.join("etc/removed")).unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("becomes-file")).unwrap();
    fs::write(root.join("becomes-file"), "now a file").unwrap();
    fs::remove_file(root.join("becomes-dir")).unwrap();
    fs::create_dir(root.join("becomes-dir")).unwrap();
    fs::write(root.join("becomes-dir/in"), "in").unwrap();
    fs::write(root.join("usr/bin/tool"), "new tool").unwrap();
    fs::write(root.join("fresh"), "fresh").unwrap();
    fs::hard_link(root.join("fresh"), root.join("usr/fresh")).unwrap();
    let note = rustix::fs::setxattr(
        root.join("fresh"),
        "user.note",
        b"a\nb\0c",
        XattrFlags::empty(),
    );
    // tmpfs of older kernels has no user attributes.
    let _ = note;
}

/// A layer that umoci does not make itself: opaque marks, a name through a
/// link of a lower layer, a hard link across layers.
fn by_hand() -> Vec<u8> {
    Layer::new()
        .file("etc/opaque/new", "new")
        .file("etc/opaque/.wh..wh..opq", "")
        .file("lib/through-link", "through")
        .link("usr/four", "one")
        .file("usr/lib/deep/.wh.er", "")
        .bytes()
}

/// What is compared of a name.
#[derive(Debug, PartialEq)]
struct Found {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of the names that the inode has.
    inode: PathBuf,
}

fn scan(root: &Path) -> BTreeMap<PathBuf, Found> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let at = root.join(&path);
        let meta = at.symlink_metadata().unwrap();
        let mut content = Vec::new();
        if meta.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&at)
                .unwrap()
                .map(|entry| path.join(entry.unwrap().file_name()))
                .collect();
            names.sort_by(|a, b| b.cmp(a));
            left.extend(names);
        } else if meta.is_symlink() {
            content = fs::read_link(&at)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes();
        } else if meta.is_file() {
            content = fs::read(&at).unwrap();
        }
        let inode = inodes
            .entry(meta.ino())
            .or_insert_with(|| path.clone())
            .clone();
        found.insert(
            path,
            Found {
                mode: meta.mode(),
                owner: (meta.uid(), meta.gid()),
                mtime: (meta.mtime(), meta.mtime_nsec()),
                content,
                xattrs: xattrs(&at),
                inode,
            },
        );
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        // umoci's own note of an owner that it could not give.
        .filter(|name| name != "user.rootlesscontainers")
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
            value.truncate(len);
            (name, value)
        })
        .collect()
}

#[test]
fn the_store_unpacks_what_umoci_unpacks() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    if !umoci(&["init", "--layout", "image"], at) {
        return;
    }
    umoci(&["new", "--image", "image:base"], at);
    umoci(&["unpack", "--image", "image:base", "one"], at);
    lower(&at.join("one/rootfs"));
    umoci(&["repack", "--image", "image:lower", "one"], at);
    umoci(&["unpack", "--image", "image:lower", "two"], at);
    upper(&at.join("two/rootfs"));
    umoci(&["repack", "--image", "image:upper", "two"], at);
    fs::write(at.join("layer.tar"), by_hand()).unwrap();
    umoci(
        &[
            "raw",
            "add-layer",
            "--image",
            "image:upper",
            "--tag",
            "all",
            "layer.tar",
        ],
        at,
    );
    umoci(&["unpack", "--image", "image:all", "umoci"], at);

    let ownership = if is_root() {
        Ownership::Image
    } else {
        Ownership::Unpacker
    };
    let store = Store::open_with(at.join("store"), ownership);
    store
        .add(
            &Source::open(&at.join("image"))
                .unwrap()
                .load(Some("x:all"))
                .unwrap(),
        )
        .unwrap();
    let ours = scan(&store.find("x:all").unwrap().unwrap().rootfs);
    let theirs = scan(&at.join("umoci/rootfs"));

    let names = |found: &BTreeMap<PathBuf, Found>| found.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    assert!(!ours.contains_key(Path::new("etc/opaque/old")));
    assert!(!ours.contains_key(Path::new("usr/lib/deep/er")));
    let capability = ours[Path::new("usr/bin/ping")]
        .xattrs
        .get("security.capability");
    assert_eq!(capability.is_some(), is_root());
    assert_eq!(
        ours[Path::new("usr/four")].inode,
        ours[Path::new("one")].inode
    );
    assert!(ours.contains_key(Path::new("usr/lib/through-link")));
    for (path, found) in &ours {
        assert_eq!(*found, theirs[path], "{}", path.display());
    }
}
