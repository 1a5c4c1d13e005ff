//! Images that are made to use up the host: memory, disk or time.
#![allow(missing_docs, reason = "a test")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use orlop_images::digest::Digest;
use orlop_images::source::{Options, Source};
use orlop_images::store::{Ownership, Store};
use orlop_images::{Error, Limits, LoadedImage, Result};
use support::{Layer, Packing, layout};

fn load(layer: Layer, limits: Limits) -> Result<LoadedImage> {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &[layer.bytes()], Packing::Plain, "amd64");
    let options = Options {
        limits,
        ..Options::default()
    };
    Source::open_with(dir.path(), options)?.load(Some("x"))
}

#[test]
fn directories_that_no_member_names_are_counted() {
    let limits = Limits {
        entries: 10,
        ..Limits::default()
    };
    let deep = |depth| Layer::new().file(&format!("{}f", "d/".repeat(depth)), "x");
    load(deep(8), limits.clone()).unwrap();
    let error = load(deep(9), limits).unwrap_err().to_string();
    assert!(error.contains("more than 10 files"), "{error}");
}

#[test]
fn a_link_target_that_no_kernel_takes_is_refused_at_once() {
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
        let layer = Layer::new()
            .pax("linkpath", &[b'a'; 5000])
            .entry(kind, "the-link", "", b"");
        let error = load(layer, Limits::default()).unwrap_err().to_string();
        assert!(
            error.contains("the-link") && error.contains("5000 bytes"),
            "{error}"
        );
    }
}

#[test]
fn extension_headers_of_one_member_add_up() {
    let limits = Limits {
        extension_bytes: 1000,
        ..Limits::default()
    };
    let layer = |headers: usize| {
        let pax = |layer: Layer, number: usize| {
            layer.pax(&format!("SCHILY.xattr.user.{number}"), &[b'v'; 300])
        };
        (0..headers).fold(Layer::new(), pax).file("f", "x")
    };
    load(layer(2), limits.clone()).unwrap();
    let error = load(layer(4), limits).unwrap_err().to_string();
    assert!(error.contains("extension headers"), "{error}");
}

#[test]
fn a_size_that_no_archive_has_is_no_overflow() {
    let layer = Layer::new()
        .pax("size", u64::MAX.to_string().as_bytes())
        .file(".wh.gone", "x");
    let error = load(layer, Limits::default()).unwrap_err().to_string();
    assert!(error.contains("in the middle of a member"), "{error}");
}

#[test]
fn indexes_that_multiply_are_each_read_once() {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    fs::write(
        dir.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    // Each level lists the one below a thousand times: 10^12 reads if followed.
    let mut index = serde_json::json!({"schemaVersion": 2, "manifests": []});
    for _ in 0..4 {
        let bytes = serde_json::to_vec(&index).unwrap();
        let digest = Digest::of(&bytes);
        fs::write(dir.path().join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        let entry = serde_json::json!({
            "mediaType": INDEX, "digest": digest.to_string(), "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": "localhost/test:1"},
        });
        index = serde_json::json!({"schemaVersion": 2, "manifests": vec![entry; 1000]});
    }
    fs::write(
        dir.path().join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    let error = Source::open(dir.path())
        .and_then(|source| source.load(None))
        .unwrap_err()
        .to_string();
    assert!(error.contains("lists no manifest"), "{error}");
}

#[test]
fn collecting_beside_adding_leaves_every_name_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), Ownership::Unpacker);
    let images: Vec<LoadedImage> = (0..40)
        .map(|number| {
            load(
                Layer::new().file("f", &number.to_string()),
                Limits::default(),
            )
            .unwrap()
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.collect(|_| false).unwrap();
            }
        });
        let is_whole = |image| {
            let found = store.add(image).and_then(|_| store.find("x"));
            matches!(found, Ok(Some(found)) if found.rootfs.join("f").exists())
        };
        let broken = images.iter().position(|image| !is_whole(image));
        done.store(true, Ordering::Relaxed);
        assert_eq!(broken, None);
    });
}

#[test]
fn a_store_of_a_later_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), Ownership::Unpacker);
    let image = load(Layer::new().file("f", "x"), Limits::default()).unwrap();
    store.add(&image).unwrap();
    let path = dir.path().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["format"] = 2.into();
    index["images"][0]["pulledFrom"] = "registry.example.com".into();
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    assert!(store.find("x").unwrap().is_some());
}

#[test]
fn reading_leaves_room_on_the_file_system() {
    support::small::on_tmpfs(
        "reading_leaves_room_on_the_file_system",
        "size=24m",
        read_in_little_room,
    );
}

fn read_in_little_room(dir: &Path) {
    let image = tempfile::tempdir().unwrap();
    let layer = Layer::new().file("zeros", &"0".repeat(40 << 20));
    layout(image.path(), &[layer.bytes()], Packing::Zstd, "amd64");
    let options = Options {
        spool_dir: dir.to_owned(),
        ..Options::default()
    };
    let source = Source::open_with(image.path(), options).unwrap();
    let Err(Error::NoSpace { free, .. }) = source.load(None) else {
        panic!("40 MiB went into 24 MiB");
    };
    assert!(free >= 4 << 20, "only {free} bytes are left");
}
