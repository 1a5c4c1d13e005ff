//! Keeping images: what a file system holds afterwards, and after trouble.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use orlop_images::source::Source;
use orlop_images::store::{IndexEntry, Ownership, Store, index_json, layout as store_layout};
use orlop_images::tree::Kind;
use orlop_images::{Error, LoadedImage};
use support::{Layer, Packing, layout};

fn image(layers: &[Vec<u8>], reference: &str) -> LoadedImage {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), layers, Packing::Gzip, "amd64");
    Source::open(dir.path())
        .unwrap()
        .load(Some(reference))
        .unwrap()
}

fn sample(reference: &str, text: &str) -> LoadedImage {
    let lower = Layer::new()
        .dir("etc/")
        .file("etc/a", text)
        .link("etc/b", "etc/a")
        .symlink("etc/l", "/etc/shadow")
        .entry(tar::EntryType::Fifo, "p", "", b"")
        .entry(tar::EntryType::Char, "null", "", b"");
    image(&[lower.bytes()], reference)
}

/// A store that any user can write.
fn store(dir: &Path) -> Store {
    let is_root = rustix::process::geteuid().is_root();
    let ownership = if is_root {
        Ownership::Image
    } else {
        Ownership::Unpacker
    };
    Store::open_with(dir, ownership)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_added_image_is_found_and_its_tree_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("images"));
    assert!(store.list().unwrap().is_empty());
    let loaded = sample("localhost/demo", "text");
    assert_eq!(
        loaded.notes.len(),
        1,
        "the device is left out: {:?}",
        loaded.notes
    );
    let entry = store.add(&loaded).unwrap();
    assert_eq!(entry.reference, "localhost/demo:latest");
    for name in [
        "localhost/demo",
        "localhost/demo:latest",
        &entry.id,
        &entry.id[7..15],
    ] {
        let found = store.find(name).unwrap().unwrap();
        assert_eq!(found.id, entry.id);
        assert_eq!(found.config, loaded.config);
    }
    for name in ["localhost/demo:2", "demo", "", "sha256:", "abc", "../.."] {
        assert!(store.find(name).unwrap().is_none(), "{name}");
    }
    let rootfs = store.find("localhost/demo").unwrap().unwrap().rootfs;
    assert_eq!(names(&rootfs), ["etc", "p"]);
    assert_eq!(fs::read_to_string(rootfs.join("etc/b")).unwrap(), "text");
    let (a, b) = (rootfs.join("etc/a"), rootfs.join("etc/b"));
    let (a, b) = (a.metadata().unwrap(), b.metadata().unwrap());
    assert_eq!(
        (a.ino(), a.nlink(), a.mtime(), a.mode() & 0o7777),
        (b.ino(), 2, 1, 0o644)
    );
    assert_eq!(
        fs::read_link(rootfs.join("etc/l")).unwrap(),
        Path::new("/etc/shadow")
    );
    assert_eq!(rootfs.join("etc").metadata().unwrap().mtime(), 1);
}

#[test]
fn modes_owners_and_attributes_are_the_images_own() {
    let capability: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let layer = Layer::new().pax("SCHILY.xattr.security.capability", capability);
    let loaded = image(&[layer.file("ping", "x").bytes()], "x");
    let mut loaded = loaded;
    let id = loaded.tree.lookup(b"ping").unwrap();
    let meta = &mut loaded.tree.node_mut(id).meta;
    (meta.mode, meta.uid, meta.gid) = (0o6711, 4_000_000_000, 7);
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.add(&loaded).unwrap();
    let path = store.find("x").unwrap().unwrap().rootfs.join("ping");
    let found = path.metadata().unwrap();
    assert_eq!(found.mode() & 0o7777, 0o6711);
    if rustix::process::geteuid().is_root() {
        assert_eq!((found.uid(), found.gid()), (4_000_000_000, 7));
        let mut buffer = [0; 64];
        let len = rustix::fs::getxattr(&path, "security.capability", &mut buffer).unwrap();
        assert_eq!(&buffer[..len], capability);
    }
}

#[test]
fn a_reference_moves_and_the_old_image_stays_until_no_one_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let old = store.add(&sample("x", "old")).unwrap();
    let new = store.add(&sample("x", "new")).unwrap();
    store.add(&sample("y", "new")).unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(names(dir.path()).len(), 3);
    assert_eq!(store.collect(|id| id == old.id).unwrap(), 0);
    assert_eq!(store.collect(|_| false).unwrap(), 1);
    store.remove("x", |_| false).unwrap();
    assert!(store.find("y").unwrap().unwrap().rootfs.exists());
    store.remove("y", |id| id == new.id).unwrap();
    assert!(dir.path().join(&new.id[7..]).exists(), "it is in use");
    assert_eq!(store.collect(|_| false).unwrap(), 1);
    assert_eq!(names(dir.path()), ["index.json"]);
    assert!(matches!(
        store.remove("y", |_| false),
        Err(Error::NoSuchImage { .. })
    ));
}

#[test]
fn what_an_interruption_leaves_is_no_image_and_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let loaded = sample("x", "text");
    let hex = loaded.id.hex();
    // Half an image, as a power cut before the rename leaves it.
    let half = dir.path().join(format!(".tmp-{hex}/rootfs/etc"));
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("a"), "ha").unwrap();
    fs::set_permissions(&half, fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(dir.path().join(".tmp-index"), "{").unwrap();
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.sweep().unwrap(), 2);
    assert!(names(dir.path()).is_empty());
    // And adding on top of the leftovers works without a sweep.
    fs::create_dir_all(dir.path().join(format!(".tmp-{hex}/rootfs/etc/a"))).unwrap();
    store.add(&loaded).unwrap();
    assert_eq!(names(dir.path()), [hex.as_str(), "index.json"]);
    // Cut between the image's rename and the index: adding again completes it.
    fs::remove_file(dir.path().join("index.json")).unwrap();
    store.add(&loaded).unwrap();
    assert!(store.find("x").unwrap().is_some());
}

#[test]
fn a_damaged_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let entry = store.add(&sample("x", "text")).unwrap();
    let config = dir.path().join(&entry.id[7..]).join("config.json");
    fs::write(&config, "{}").unwrap();
    assert!(matches!(store.find("x"), Err(Error::Damaged { .. })));
    fs::remove_file(&config).unwrap();
    assert!(
        store
            .find("x")
            .unwrap_err()
            .to_string()
            .contains("load it again")
    );
    fs::write(dir.path().join("index.json"), "{\"images\": 1}").unwrap();
    assert!(store.list().unwrap_err().to_string().contains("index.json"));
    assert!(
        store.collect(|_| false).is_err(),
        "nothing may be deleted by a broken index"
    );
}

#[test]
fn a_failed_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut loaded = sample("x", "text");
    // The bytes behind a file are gone, as a failing disk would have it.
    let id = loaded.tree.lookup(b"etc/a").unwrap();
    let empty = tempfile::tempfile().unwrap();
    loaded.tree.node_mut(id).kind = Kind::File(orlop_images::content::Content::from_file(
        empty.into(),
        0,
        5,
    ));
    let error = store.add(&loaded).unwrap_err().to_string();
    assert!(error.contains("etc/a"), "{error}");
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
    // More than any disk has.
    let id = loaded.tree.lookup(b"etc/a").unwrap();
    let empty = tempfile::tempfile().unwrap();
    loaded.tree.node_mut(id).kind = Kind::File(orlop_images::content::Content::from_file(
        empty.into(),
        0,
        1 << 60,
    ));
    match store.add(&loaded).unwrap_err() {
        Error::NoSpace { needed, free, .. } => assert!(needed > 1 << 60 && free > 0),
        other => panic!("{other}"),
    }
    assert!(names(dir.path()).is_empty());
}

#[test]
fn the_baked_layout_is_the_written_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let loaded = sample("x", "text");
    store.add(&loaded).unwrap();
    let tree = store_layout(&loaded).unwrap();
    let mut inodes = BTreeMap::new();
    for entry in tree.walk().skip(1) {
        let path = dir.path().join(std::str::from_utf8(&entry.path).unwrap());
        let found = path.symlink_metadata().unwrap();
        let mode = entry.node.meta.mode;
        assert_eq!(found.mode() & 0o7777, mode, "{}", path.display());
        assert_eq!(found.is_dir(), entry.node.is_dir());
        let ino = inodes.entry(entry.id).or_insert(found.ino());
        assert_eq!(*ino, found.ino());
    }
    let on_disk = fs::read(dir.path().join("index.json")).unwrap();
    assert_eq!(index_json(&[IndexEntry::from(&loaded)]).unwrap(), on_disk);
    let twice = [IndexEntry::from(&loaded), IndexEntry::from(&loaded)];
    assert!(
        index_json(&twice)
            .unwrap_err()
            .to_string()
            .contains("two images")
    );
}

#[test]
fn a_file_system_that_fills_up_half_way_is_left_as_it_was() {
    // Bytes in plenty, and inodes for half the image: nothing can tell before.
    support::small::on_tmpfs(
        "a_file_system_that_fills_up_half_way_is_left_as_it_was",
        "size=64m,nr_inodes=14",
        fill_up,
    );
}

fn fill_up(dir: &Path) {
    let store = Store::open_with(dir.join("images"), Ownership::Unpacker);
    let mut layer = Layer::new();
    for number in 0..30 {
        layer = layer.file(&format!("file-{number}"), "x");
    }
    let kept = store
        .add(&image(&[Layer::new().file("a", "1").bytes()], "kept"))
        .unwrap();
    let before = names(store.dir());
    let error = store.add(&image(&[layer.bytes()], "large")).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(names(store.dir()), before);
    assert_eq!(store.find("kept").unwrap().unwrap().id, kept.id);
}
