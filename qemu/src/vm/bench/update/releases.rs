//! The versions that updates are measured between: real builds, of one host.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::image::Built;
use crate::vm::{files, up};
use crate::{build, machine, paths};

/// The unit that decides whether a version is kept: the demo's page.
pub(super) const GATE: &str = "web";
/// A unit that has a volume at `/data`.
pub(super) const STORE: &str = "store";
/// What is added to the large version, in MiB.
pub(super) const BALLAST_MIB: u64 = 300;

const NAME: &str = "bench";
/// Of what is updated, and of what it is updated to.
const OLD: &str = "1.0.0";
const NEW: &str = "2.0.0";

const CLOUD: &str = "linux-image-cloud-amd64";
const METAL: &str = "linux-image-amd64";
/// Two programs of one package, alike in kind and size, and different in their bytes.
const IMG: &str = "/usr/bin/qemu-img";
const NBD: &str = "/usr/bin/qemu-nbd";

const STORE_UNIT: &str = "[container]\nimage = \"localhost/demo:1\"\n\
    command = [\"busybox\", \"sleep\", \"1000000\"]\nvolumes = [\"store:/data\"]\n";

/// What a version is made of.
struct Recipe {
    folder: &'static str,
    version: &'static str,
    kernel: &'static str,
    /// A program in the demo's container, beside its own.
    program: &'static str,
    ballast: bool,
}

/// A version.
pub(super) struct Release {
    /// The disk, as a factory would write it.
    image: PathBuf,
    /// The update bundle.
    pub(super) bundle: PathBuf,
    /// What a web server is to serve.
    pub(super) published: PathBuf,
    /// The bytes of the bundle's head, and of the root's hash tree.
    pub(super) head: u64,
    pub(super) tree: u64,
}

/// All of them; each differs from `old` in what it is called after.
pub(super) struct Releases {
    pub(super) old: Release,
    pub(super) number: Release,
    pub(super) program: Release,
    pub(super) kernel: Release,
    /// In the kernel, and in [`BALLAST_MIB`] more.
    pub(super) large: Release,
}

impl Releases {
    /// Builds them. The project's programs and the operator's certificates are there.
    pub(super) fn build() -> Result<Releases> {
        let place = folder()?;
        let key = place.join("sign.key");
        if key.exists() {
            std::fs::remove_file(&key)?;
        }
        let public = build::update_key(&key)?;
        let old = Recipe {
            folder: "old",
            version: OLD,
            kernel: CLOUD,
            program: IMG,
            ballast: false,
        };
        let new = |folder, kernel, program| Recipe {
            folder,
            version: NEW,
            kernel,
            program,
            ballast: false,
        };
        let large = Recipe {
            ballast: true,
            ..new("large", METAL, IMG)
        };
        let build = |recipe: &Recipe| recipe.build(&key, &public);
        Ok(Releases {
            old: build(&old)?,
            number: build(&new("number", CLOUD, IMG))?,
            program: build(&new("program", CLOUD, NBD))?,
            kernel: build(&new("kernel", METAL, IMG))?,
            large: build(&large)?,
        })
    }
}

impl Recipe {
    fn build(&self, key: &Path, public: &str) -> Result<Release> {
        let version = self.version;
        println!("Building {NAME} {version} ({}) ...", self.folder);
        let place = folder()?.join(self.folder);
        std::fs::create_dir_all(&place)?;
        let host = self.write_host(&place, public)?;
        let image = place.join("disk.img");
        let built = Built::build(&host, &image, Some(key))?;
        let bundle = place.join(format!("{NAME}-{version}.orlop"));
        let published = place.join("published");
        if published.exists() {
            std::fs::remove_dir_all(&published)?;
        }
        build::publish(&bundle, &published)?;
        let head = published.join(format!("{NAME}-{version}.head"));
        let head = std::fs::metadata(&head).with_context(|| head.display().to_string())?;
        Ok(Release {
            image,
            bundle,
            published,
            head: head.len(),
            tree: built.bytes("hash tree")?,
        })
    }

    /// Writes the host TOML, and what it names.
    fn write_host(&self, place: &Path, public: &str) -> Result<PathBuf> {
        let page = paths::repository().join("configs/demo/index.html");
        let demo = place.join("demo.tar");
        build::busybox_container(
            &demo,
            "localhost/demo:1",
            &[
                (&page, "/www/index.html"),
                (Path::new(self.program), "/bin/program:755"),
            ],
            &["busybox", "httpd", "-f", "-v", "-p", "8000", "-h", "/www"],
        )?;
        let mut containers = vec![baked(&demo, "localhost/demo:1")];
        if self.ballast {
            let ballast = place.join("ballast");
            write_ballast(&ballast)?;
            let archive = place.join("ballast.tar");
            let reference = "localhost/ballast:1";
            build::container(&archive, reference, &[(&ballast, "/ballast")], &["/none"])?;
            containers.push(baked(&archive, reference));
        }
        let store = place.join(format!("{STORE}.toml"));
        std::fs::write(&store, STORE_UNIT)?;
        let gate = paths::repository().join(format!("configs/units/{GATE}.toml"));
        let authority = files::operator().join("ca.crt");
        let host = place.join("host.toml");
        let (version, kernel) = (self.version, self.kernel);
        std::fs::write(
            &host,
            format!(
                "name = {NAME:?}\nversion = {version:?}\n\n[kernel]\npackage = {kernel:?}\n\n\
                 [disk]\nroot = \"512M\"\n\n[image]\nunits = [{gate:?}, {store:?}]\n\
                 containers = [{}]\n\n[api]\nclient-ca = {authority:?}\n\n\
                 [update]\nkeys = [{public:?}]\nsettle = \"3s\"\n",
                containers.join(", ")
            ),
        )?;
        Ok(host)
    }
}

fn baked(archive: &Path, reference: &str) -> String {
    format!("{{ source = {archive:?}, reference = {reference:?} }}")
}

/// Bytes that nothing compresses, the same ones each time (xorshift64, Marsaglia 2003).
fn write_ballast(file: &Path) -> Result<()> {
    let mut out = std::fs::File::create(file)?;
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut piece = vec![0; 1 << 20];
    for _ in 0..BALLAST_MIB {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        out.write_all(&piece)?;
    }
    Ok(())
}

/// Where everything is that this measures with.
pub(super) fn folder() -> Result<PathBuf> {
    let place = paths::vm().join("bench/update");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place)
}

impl Release {
    /// A disk with this version, larger than its image as a machine's is.
    pub(super) fn disk(&self, name: &str) -> Result<PathBuf> {
        let disk = folder()?.join(name);
        machine::copy_disk(&self.image, &disk)?;
        machine::grow_disk(&disk, up::DISK_BYTES)?;
        Ok(disk)
    }
}
