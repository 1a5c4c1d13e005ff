//! Writing the layout or archive: beside its place, and then renamed.

use std::fs;
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::GzBuilder;
use jiff::Timestamp;
use oci_spec::image::{
    Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType,
    PlatformBuilder,
};
use orlop_images::digest::Digest;
use orlop_images::tarball;
use orlop_images::tree::{Content, Meta, Node, Tree};
use sha2::{Digest as _, Sha256};

use super::args::{Compression, Format, OciArgs};
use super::config::{configuration, json};
use super::contents::{Contents, time};

/// What was made.
pub(super) struct Made {
    /// Digest of the configuration.
    pub(super) id: Digest,
}

/// Writes the image to where the arguments say.
pub(super) fn write(
    args: &OciArgs,
    reference: &str,
    created: Timestamp,
    contents: &Contents,
) -> Result<Made> {
    let parent = match args.output.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let layer = layer(&contents.tree, args.compression, parent)?;
    let config = configuration(args, created, contents.program.as_deref(), layer.diff_id)?;
    let config = json(&config)?;
    let id = Digest::of(&config);
    let config_descriptor = descriptor(MediaType::ImageConfig, id, config.len() as u64)?;
    let layer_descriptor = descriptor(layer.media_type, layer.digest, layer.content.len())?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config_descriptor)
        .layers(vec![layer_descriptor])
        .build()?;
    let manifest = json(&manifest)?;
    let manifest_digest = Digest::of(&manifest);
    let name = (
        "org.opencontainers.image.ref.name".to_owned(),
        reference.to_owned(),
    );
    let platform = PlatformBuilder::default()
        .architecture(args.architecture.as_str())
        .os("linux")
        .build()?;
    let mut entry = descriptor(
        MediaType::ImageManifest,
        manifest_digest,
        manifest.len() as u64,
    )?;
    entry.set_annotations(Some([name].into()));
    entry.set_platform(Some(platform));
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![entry])
        .build()?;

    // The layout is a tree itself, so both formats come from one value.
    let mut layout = Tree::new();
    let mut put = |path: &str, content: Content| -> Result<()> {
        let meta = Meta {
            mtime: time(created),
            ..Meta::with_mode(0o644)
        };
        layout.put(path.as_bytes(), Node::file(meta, content))?;
        Ok(())
    };
    put(
        "oci-layout",
        Content::from_bytes(*br#"{"imageLayoutVersion":"1.0.0"}"#),
    )?;
    put("index.json", Content::from_bytes(json(&index)?))?;
    put(&blob(id), Content::from_bytes(config))?;
    put(&blob(manifest_digest), Content::from_bytes(manifest))?;
    put(&blob(layer.digest), layer.content)?;
    match args.format() {
        Format::Archive => write_archive(&layout, &args.output, parent)?,
        Format::Layout => write_layout(&layout, &args.output, parent)?,
    }
    Ok(Made { id })
}

struct Layer {
    content: Content,
    media_type: MediaType,
    digest: Digest,
    diff_id: Digest,
}

/// Packs the tree, in a temporary file in `dir`.
fn layer(tree: &Tree, compression: Compression, dir: &Path) -> Result<Layer> {
    let file = tempfile::tempfile_in(dir)
        .with_context(|| format!("make a temporary file in {}", dir.display()))?;
    let packed = Hashing::new(io::BufWriter::with_capacity(128 << 10, file));
    let (packed, diff_id, media_type) = match compression {
        Compression::None => {
            let mut plain = Hashing::new(packed);
            tarball::write_tree(tree, &mut plain)?;
            let (packed, diff_id) = plain.finish();
            (packed, diff_id, MediaType::ImageLayer)
        }
        Compression::Gzip => {
            let gzip = GzBuilder::new().write(packed, flate2::Compression::new(6));
            let mut plain = Hashing::new(gzip);
            tarball::write_tree(tree, &mut plain)?;
            let (gzip, diff_id) = plain.finish();
            (gzip.finish()?, diff_id, MediaType::ImageLayerGzip)
        }
        Compression::Zstd => {
            let mut plain = Hashing::new(zstd::Encoder::new(packed, 12)?);
            tarball::write_tree(tree, &mut plain)?;
            let (zstd, diff_id) = plain.finish();
            (zstd.finish()?, diff_id, MediaType::ImageLayerZstd)
        }
    };
    let (writer, digest) = packed.finish();
    let mut file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    let len = file.stream_position()?;
    Ok(Layer {
        content: Content::from_file(file.into(), 0, len),
        media_type,
        digest,
        diff_id,
    })
}

fn write_archive(layout: &Tree, output: &Path, parent: &Path) -> Result<()> {
    if output.is_dir() {
        bail!("is a directory; remove it or give another name");
    }
    let file = tempfile::Builder::new()
        .prefix(".orlop-oci-")
        .tempfile_in(parent)?;
    let mut writer = io::BufWriter::with_capacity(128 << 10, file);
    tarball::write_tree(layout, &mut writer)?;
    let file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(output)?;
    Ok(())
}

fn write_layout(layout: &Tree, output: &Path, parent: &Path) -> Result<()> {
    if output.exists() {
        bail!("is already there; remove it or give another name");
    }
    let dir = tempfile::Builder::new()
        .prefix(".orlop-oci-")
        .tempdir_in(parent)?;
    for entry in layout.walk().skip(1) {
        let path = dir.path().join(std::str::from_utf8(&entry.path)?);
        match &entry.node.kind {
            orlop_images::tree::Kind::File(content) => {
                let mut file = fs::File::create_new(&path)?;
                content.copy_to(&mut file)?;
            }
            _ => fs::create_dir(&path)?,
        }
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    fs::rename(dir.path(), output)?;
    // Its name is gone; there is nothing left to delete.
    let _ = dir.keep();
    Ok(())
}

fn descriptor(media_type: MediaType, digest: Digest, size: u64) -> Result<Descriptor> {
    let digest: oci_spec::image::Digest = digest.to_string().parse()?;
    Ok(DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(size)
        .build()?)
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Digests what is written through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    fn finish(self) -> (W, Digest) {
        (
            self.inner,
            Digest::from(<[u8; 32]>::from(self.hash.finalize())),
        )
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
