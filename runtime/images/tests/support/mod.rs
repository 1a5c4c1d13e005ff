//! OCI layouts and layers made by hand, right and wrong.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "the modules above are the tests' roots")]
#![allow(clippy::unwrap_used, reason = "a test's helper fails as a test does")]

pub mod small;

use std::fs;
use std::path::Path;

use orlop_images::digest::Digest;
use orlop_images::tree::{Kind, Tree};

/// A layer as plain tar.
pub struct Layer(pub tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub fn entry(mut self, kind: tar::EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_link_name_literal(link).unwrap();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        let is_dir = kind == tar::EntryType::Directory;
        header.set_mode(if is_dir { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub fn file(self, path: &str, data: &str) -> Self {
        self.entry(tar::EntryType::Regular, path, "", data.as_bytes())
    }

    pub fn dir(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, "", b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, target, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, target, b"")
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    use std::io::Write as _;
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(bytes).unwrap();
            gz.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// Writes a layout of one image; gives its configuration's digest.
pub fn layout(dir: &Path, layers: &[Vec<u8>], packing: Packing, architecture: &str) -> Digest {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut descriptors = Vec::new();
    for layer in layers {
        let packed = pack(layer, packing);
        let suffix = match packing {
            Packing::Plain => "",
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        descriptors.push(descriptor(&media_type, blob(dir, &packed), packed.len()));
    }
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let id = blob(dir, &config);
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config_type, id, config.len()), "layers": descriptors,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let mut entry = descriptor(manifest_type, blob(dir, &manifest), manifest.len());
    entry["annotations"] =
        serde_json::json!({"org.opencontainers.image.ref.name": "localhost/test:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    id
}

fn descriptor(media_type: &str, digest: Digest, size: usize) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}

fn blob(dir: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    digest
}

/// A layout directory as a plain tar archive.
pub fn archive(dir: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", dir).unwrap();
    tar.into_inner().unwrap()
}

/// A tree, a line for each name: what a test compares.
pub fn listing(tree: &Tree) -> Vec<String> {
    let mut first = std::collections::BTreeMap::new();
    let line = |entry: orlop_images::tree::Entry<'_>| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        if let Some(first) = first.get(&entry.id) {
            return format!("{path} = {first}");
        }
        first.insert(entry.id, path.clone());
        let meta = &entry.node.meta;
        let what = match &entry.node.kind {
            Kind::Dir(_) => "dir".to_owned(),
            Kind::File(it) => format!("{:?}", String::from_utf8_lossy(&it.to_vec().unwrap())),
            Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
            Kind::Char(it) => format!("char {}:{}", it.major, it.minor),
            Kind::Block(it) => format!("block {}:{}", it.major, it.minor),
            Kind::Fifo => "fifo".to_owned(),
        };
        let mut line = format!("{path} {what} {:o} {}:{}", meta.mode, meta.uid, meta.gid);
        for (name, value) in &meta.xattrs {
            line += &format!(" {}={value:02x?}", String::from_utf8_lossy(name));
        }
        line
    };
    tree.walk().map(line).collect()
}
