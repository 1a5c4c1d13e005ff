//! A container image with what images seldom have: many owners, set-user-id and
//! sticky bits, hard links, extended attributes, and names that a later layer
//! takes away. Its layers are written here and put together by umoci.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::debian_images::{pack, umoci, unpack};

/// Where in the image the odd names are.
pub(crate) const TREE: &str = "tree";

/// `cap_net_raw=ep` as the kernel keeps it (`struct vfs_cap_data`, revision 2).
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// When everything in the image was last changed.
const TIME: u64 = 1_600_000_000;

/// The image in its two forms.
pub(crate) struct OddImage {
    /// The OCI archive `localhost/odd:1`, which also has a device node at
    /// `tree/null`.
    pub(crate) archive: PathBuf,
    /// What umoci unpacks of it, without that node.
    pub(crate) unpacked: PathBuf,
    /// Whether umoci could give the files their owners.
    pub(crate) owned: bool,
}

/// Makes the image in `place`; it runs `lister` on the odd names.
pub(crate) fn make(place: &Path, lister: &Path) -> Result<OddImage> {
    let layout = place.join("layout").display().to_string();
    let (plain, all) = (format!("{layout}:plain"), format!("{layout}:all"));
    umoci(&["init", "--layout", &layout])?;
    umoci(&["new", "--image", &plain])?;
    for (name, layer) in [("lower", lower(lister)?), ("upper", upper()?)] {
        add_layer(&place.join(name), &layer, &plain, "plain")?;
    }
    let command = ["/lister".to_owned(), format!("/{TREE}")];
    let words = command.map(|word| format!("--config.cmd={word}"));
    umoci(&["config", "--image", &plain, &words[0], &words[1]])?;
    add_layer(&place.join("node"), &node()?, &plain, "all")?;
    let archive = place.join("odd.tar");
    pack(&all, "localhost/odd:1", &archive)?;

    let bundle = place.join("bundle");
    let owned = unpack(&plain, &bundle)?;
    Ok(OddImage {
        archive,
        unpacked: bundle.join("rootfs").join(TREE),
        owned,
    })
}

/// What `lister` says of a directory of this machine.
pub(crate) fn list(lister: &Path, directory: &Path) -> Result<String> {
    let output = Command::new(lister)
        .arg(directory)
        .output()
        .context("cannot run the lister")?;
    ensure!(output.status.success(), "the lister: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn add_layer(file: &Path, bytes: &[u8], image: &str, tag: &str) -> Result<()> {
    fs::write(file, bytes)?;
    let file = file.display().to_string();
    umoci(&["raw", "add-layer", "--image", image, "--tag", tag, &file])
}

/// A layer under way.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Layer {
        Layer(tar::Builder::new(Vec::new()))
    }

    fn entry(
        &mut self,
        kind: tar::EntryType,
        path: &str,
        (mode, uid, gid): (u32, u64, u64),
        content: &[u8],
    ) -> Result<()> {
        let mut header = header(kind, mode, uid, gid);
        header.set_size(content.len() as u64);
        Ok(self.0.append_data(&mut header, path, content)?)
    }

    fn directory(&mut self, path: &str, mode: u32, uid: u64, gid: u64) -> Result<()> {
        self.entry(tar::EntryType::Directory, path, (mode, uid, gid), b"")
    }

    fn file(&mut self, path: &str, mode: u32, uid: u64, gid: u64) -> Result<()> {
        self.entry(
            tar::EntryType::Regular,
            path,
            (mode, uid, gid),
            path.as_bytes(),
        )
    }

    fn attributes(&mut self, attributes: &[(&str, &[u8])]) -> Result<()> {
        let named: Vec<(String, &[u8])> = attributes
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value))
            .collect();
        let pairs = named.iter().map(|(name, value)| (name.as_str(), *value));
        Ok(self.0.append_pax_extensions(pairs)?)
    }

    fn link(&mut self, kind: tar::EntryType, path: &str, to: &str) -> Result<()> {
        // A hard link says again what it is a link to.
        let mut header = match kind {
            tar::EntryType::Link => header(kind, 0o640, 1000, 50),
            _ => header(kind, 0o777, 33, 33),
        };
        Ok(self.0.append_link(&mut header, path, to)?)
    }
}

fn header(kind: tar::EntryType, mode: u32, uid: u64, gid: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

fn lower(lister: &Path) -> Result<Vec<u8>> {
    let mut layer = Layer::new();
    let program = fs::read(lister).context("the lister")?;
    layer.entry(tar::EntryType::Regular, "lister", (0o755, 0, 0), &program)?;
    for (path, mode, uid, gid) in [
        ("tree", 0o755, 0, 0),
        ("tree/web", 0o2750, 33, 33),
        ("tree/tmp", 0o1777, 0, 0),
        ("tree/gone", 0o755, 0, 0),
        ("tree/opaque", 0o700, 1000, 1000),
        (
            "tree/a name with spaces and \u{e4}\u{f6}\u{fc}",
            0o755,
            0,
            0,
        ),
    ] {
        layer.directory(path, mode, uid, gid)?;
    }
    for (path, mode, uid, gid) in [
        ("tree/secret", 0o400, 0, 0),
        ("tree/web/page", 0o644, 33, 33),
        ("tree/su", 0o4755, 0, 0),
        ("tree/wall", 0o2755, 0, 5),
        ("tree/nobody", 0o600, 65_534, 65_534),
        ("tree/far", 0o604, 70_000, 70_001),
        ("tree/one", 0o640, 1000, 50),
        ("tree/gone/file", 0o644, 0, 0),
        ("tree/opaque/old", 0o644, 0, 0),
        ("tree/removed", 0o644, 0, 0),
    ] {
        layer.file(path, mode, uid, gid)?;
    }
    layer.attributes(&[("security.capability", &CAPABILITY)])?;
    layer.file("tree/ping", 0o755, 0, 0)?;
    layer.attributes(&[("user.note", b"a\nb\0c"), ("user.empty", b"")])?;
    layer.file("tree/noted", 0o644, 33, 0)?;
    layer.link(tar::EntryType::Link, "tree/web/two", "tree/one")?;
    layer.link(tar::EntryType::Link, "tree/three", "tree/one")?;
    layer.link(tar::EntryType::Symlink, "tree/absolute", "/etc/hosts")?;
    layer.link(tar::EntryType::Symlink, "tree/dangling", "no/where")?;
    layer.entry(tar::EntryType::Fifo, "tree/pipe", (0o622, 1, 2), b"")?;
    let large = vec![0x5a; 3 << 20];
    layer.entry(tar::EntryType::Regular, "tree/large", (0o644, 0, 0), &large)?;
    Ok(layer.0.into_inner()?)
}

fn upper() -> Result<Vec<u8>> {
    let mut layer = Layer::new();
    layer.file("tree/.wh.gone", 0o644, 0, 0)?;
    layer.file("tree/.wh.removed", 0o644, 0, 0)?;
    layer.directory("tree/opaque", 0o711, 1001, 1002)?;
    layer.file("tree/opaque/.wh..wh..opq", 0o644, 0, 0)?;
    layer.file("tree/opaque/new", 0o4711, 33, 0)?;
    layer.file("tree/web/page", 0o600, 34, 35)?;
    Ok(layer.0.into_inner()?)
}

fn node() -> Result<Vec<u8>> {
    let mut layer = Layer::new();
    let mut header = header(tar::EntryType::Char, 0o666, 0, 0);
    header.set_device_major(1)?;
    header.set_device_minor(3)?;
    layer.0.append_data(&mut header, "tree/null", &b""[..])?;
    Ok(layer.0.into_inner()?)
}
