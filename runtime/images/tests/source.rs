//! Reading layouts and archives, whole and broken.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::fs;

use orlop_images::source::{Options, Source};
use orlop_images::{Error, Limits};
use support::{Layer, Packing, archive, layout, listing, pack};

fn two_layers() -> Vec<Vec<u8>> {
    let lower = Layer::new()
        .dir("etc/")
        .file("etc/a", "1")
        .file("etc/b", "2")
        .bytes();
    let upper = Layer::new()
        .file("etc/.wh.a", "")
        .file("etc/c", "3")
        .bytes();
    vec![lower, upper]
}

const MERGED: [&str; 4] = [
    " dir 755 0:0",
    "etc dir 755 0:0",
    "etc/b \"2\" 644 0:0",
    "etc/c \"3\" 644 0:0",
];

#[test]
fn every_packing_of_layers_and_archives_gives_the_same_tree() {
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let id = layout(&dir.path().join("l"), &two_layers(), packing, "amd64");
        let tar = archive(&dir.path().join("l"));
        let mut sources = vec![dir.path().join("l")];
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let path = dir.path().join(format!("{packing:?}.tar"));
            fs::write(&path, pack(&tar, packing)).unwrap();
            sources.push(path);
        }
        for path in sources {
            let source = Source::open(&path).unwrap();
            assert_eq!(
                source.images()[0].reference.as_deref(),
                Some("localhost/test:1")
            );
            let image = source.load(None).unwrap();
            assert_eq!(image.id, id);
            assert_eq!(image.reference, "localhost/test:1");
            assert_eq!(listing(&image.tree), MERGED);
            assert_eq!(
                source.load(Some("other")).unwrap().reference,
                "other:latest"
            );
        }
    }
}

#[test]
fn a_changed_byte_anywhere_in_a_blob_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let _ = fs::remove_dir_all(&path);
        layout(&path, &two_layers(), packing, "amd64");
        for blob in fs::read_dir(path.join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap().path();
            let good = fs::read(&blob).unwrap();
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&blob, bad).unwrap();
                let error = Source::open(&path).unwrap().load(None).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
            }
            for bad in [&good[..good.len() - 1], &[&good[..], b"x"].concat(), b""] {
                fs::write(&blob, bad).unwrap();
                let error = Source::open(&path).unwrap().load(None).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "{error}");
            }
            fs::write(&blob, good).unwrap();
        }
        Source::open(&path).unwrap().load(None).unwrap();
    }
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    layout(&path, &two_layers(), Packing::Gzip, "amd64");
    // The same manifest with the layers swapped: all blobs are intact.
    let index = fs::read_to_string(path.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let blobs = path.join("blobs/sha256");
    let old = fs::read(blobs.join(digest.strip_prefix("sha256:").unwrap())).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&old).unwrap();
    manifest["layers"].as_array_mut().unwrap().reverse();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let new = orlop_images::digest::Digest::of(&bytes);
    fs::write(blobs.join(new.hex()), &bytes).unwrap();
    let index = index.to_string().replace(&digest, &new.to_string());
    fs::write(path.join("index.json"), index).unwrap();
    let error = Source::open(&path)
        .unwrap()
        .load(None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("layer 1") && error.contains("diff_id"),
        "{error}"
    );
}

#[test]
fn another_architecture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &two_layers(), Packing::Plain, "arm64");
    let error = Source::open(dir.path()).unwrap().load(None).unwrap_err();
    assert!(matches!(error, Error::Architecture { .. }));
    let text = error.to_string();
    assert!(
        text.contains("linux/arm64") && text.contains("linux/amd64"),
        "{text}"
    );
}

#[test]
fn what_is_no_layout_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let mut docker = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("manifest.json").unwrap();
    header.set_size(2);
    header.set_mode(0o644);
    header.set_cksum();
    docker.append(&header, &b"[]"[..]).unwrap();
    let docker = docker.into_inner().unwrap();
    for (bytes, expected) in [
        (&b""[..], "no OCI layout"),
        (&[7; 5000][..], "no tar archive"),
        (&docker[..], "docker archive"),
        (&docker[..513], "ends"),
        (&[0x1f, 0x8b, 1, 2][..], "read"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = Source::open(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = Source::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("oci-layout"), "{error}");
    let error = Source::open(&dir.path().join("missing")).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    assert!(
        std::error::Error::source(&error).is_none(),
        "it would be told twice"
    );
}

#[test]
fn limits_are_kept_and_named() {
    let dir = tempfile::tempdir().unwrap();
    layout(dir.path(), &two_layers(), Packing::Gzip, "amd64");
    let all = Limits::default();
    for (limits, expected) in [
        (
            Limits {
                layers: 1,
                ..all.clone()
            },
            "2 layers is over the limit of 1 layers",
        ),
        (
            Limits {
                entries: 4,
                ..all.clone()
            },
            "limit of 4 files",
        ),
        (
            Limits {
                unpacked_bytes: 4000,
                ..all.clone()
            },
            "limit of 4000 bytes",
        ),
        (
            Limits {
                metadata_bytes: 20,
                ..all.clone()
            },
            "limit of 20 bytes",
        ),
        (
            Limits {
                document_bytes: 10,
                ..all.clone()
            },
            "limit of 10 bytes",
        ),
        (
            Limits {
                config_bytes: 10,
                ..all.clone()
            },
            "configuration of image",
        ),
    ] {
        let options = Options {
            limits,
            ..Options::default()
        };
        let error = Source::open_with(dir.path(), options)
            .and_then(|source| source.load(None))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
