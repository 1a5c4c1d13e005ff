//! Fetches Debian packages through apt and unpacks what is wanted of them,
//! both kept in a cache; neither needs root.
//!
//! A meta package (`linux-image-cloud-amd64`) is followed to the versioned one
//! that it depends on. What apt named last is remembered, so a build without a
//! network takes the same packages again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A package as apt describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name, of the versioned package where a meta package was asked for.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the `.deb`, in hexadecimal.
    pub sha256: String,
    /// `Depends`, verbatim.
    #[serde(skip)]
    pub depends: String,
}

/// The cache and the way to apt.
#[derive(Debug)]
pub struct Debs {
    cache: PathBuf,
}

impl Debs {
    /// Packages cached in `cache`, which is made when needed.
    pub fn new(cache: impl Into<PathBuf>) -> Debs {
        Debs {
            cache: cache.into(),
        }
    }

    /// Resolves `names`; each answer is what to fetch for the name.
    ///
    /// # Errors
    /// A name that neither apt nor the cache knows.
    pub fn resolve(&self, names: &[&str]) -> Result<Vec<Package>> {
        let memory = self.cache.join("debs/resolved.json");
        let mut known: BTreeMap<String, Package> = fs::read(&memory)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let before = known.clone();
        let found = show(names).unwrap_or_default();
        for name in names {
            let Some(package) = found.iter().find(|package| package.name == *name) else {
                continue;
            };
            let package = match versioned(&package.depends) {
                Some(real) => show(&[real])?
                    .into_iter()
                    .find(|p| p.name == real)
                    .unwrap_or(package.clone()),
                None => package.clone(),
            };
            known.insert((*name).to_owned(), package);
        }
        if known != before {
            fs::create_dir_all(self.cache.join("debs"))?;
            replace(&memory, &serde_json::to_vec_pretty(&known)?)?;
        }
        let pick = |name: &&str| {
            known.get(*name).cloned().ok_or_else(|| {
                anyhow!("Debian package {name}: apt does not know it; check the name, or run `apt-get update` as root")
            })
        };
        names.iter().map(pick).collect()
    }

    /// The directory with the files of `package` that `wanted` names by their
    /// path in the package (no leading slash).
    ///
    /// # Errors
    /// A download that fails or has another digest; a package that cannot be
    /// unpacked.
    pub fn unpacked(&self, package: &Package, wanted: fn(&Path) -> bool) -> Result<PathBuf> {
        let short = package.sha256.get(..16).unwrap_or("0");
        let target = self
            .cache
            .join(format!("unpacked/{}-{short}", package.name));
        if target.is_dir() {
            return Ok(target);
        }
        let deb = self.download(package)?;
        fs::create_dir_all(self.cache.join("unpacked"))?;
        let beside = tempfile::tempdir_in(self.cache.join("unpacked"))?;
        unpack(&deb, beside.path(), wanted)
            .with_context(|| format!("unpacking {}", deb.display()))?;
        match fs::rename(beside.keep(), &target) {
            // Another build was faster with the same package.
            Err(_) if target.is_dir() => Ok(target),
            outcome => outcome
                .map(|()| target)
                .context("keeping an unpacked package"),
        }
    }

    fn download(&self, package: &Package) -> Result<PathBuf> {
        let dir = self.cache.join("debs");
        fs::create_dir_all(&dir)?;
        let file = dir.join(format!(
            "{}_{}.deb",
            package.name,
            package.version.replace(':', "%3a")
        ));
        if file.exists() && digest(&file)? == package.sha256 {
            return Ok(file);
        }
        let beside = tempfile::tempdir_in(&dir)?;
        let wanted = format!("{}={}", package.name, package.version);
        let output = Command::new("apt-get")
            .args(["download", "-q", &wanted])
            .current_dir(beside.path())
            .stdin(Stdio::null())
            .output()
            .context("running apt-get")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!(
                "apt-get download {wanted}: {why}; is there a network, and is `apt-get update` recent?"
            );
        }
        let entry = fs::read_dir(beside.path())?.next();
        let fetched = entry
            .ok_or_else(|| anyhow!("apt-get download {wanted} left no file"))??
            .path();
        let found = digest(&fetched)?;
        if found != package.sha256 {
            bail!(
                "{wanted}: SHA-256 is {found}, but apt's list says {}",
                package.sha256
            );
        }
        fs::rename(&fetched, &file)?;
        Ok(file)
    }
}

/// Writes beside and renames, so that nobody reads half a file.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut beside, bytes)?;
    beside.persist(path)?;
    Ok(())
}

fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect());
        }
        hash.update(&buffer[..count]);
    }
}

fn show(names: &[&str]) -> Result<Vec<Package>> {
    let output = Command::new("apt-cache")
        .args(["show", "--no-all-versions", "--"])
        .args(names)
        .stdin(Stdio::null())
        .output()
        .context("running apt-cache")?;
    // It fails if one of the names is unknown, yet shows the others.
    Ok(stanzas(&String::from_utf8_lossy(&output.stdout)))
}

/// Parses apt's answer.
fn stanzas(text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                let line = |line: &str| {
                    line.strip_prefix(name)?
                        .strip_prefix(": ")
                        .map(str::to_owned)
                };
                stanza.lines().find_map(line)
            };
            Some(Package {
                name: field("Package")?,
                version: field("Version")?,
                sha256: field("SHA256")?,
                depends: field("Depends").unwrap_or_default(),
            })
        })
        .collect()
}

/// The kernel that a kernel meta package stands for: the one dependency on an
/// exact version of another kernel image.
fn versioned(depends: &str) -> Option<&str> {
    let mut parts = depends.split(',').map(str::trim);
    parts.find_map(|part| {
        let (name, version) = part.split_once(' ')?;
        (name.starts_with("linux-image-") && version.starts_with("(=")).then_some(name)
    })
}

fn unpack(deb: &Path, target: &Path, wanted: fn(&Path) -> bool) -> Result<()> {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("running dpkg-deb")?;
    let stream = child
        .stdout
        .take()
        .ok_or_else(|| anyhow!("dpkg-deb gave no output"))?;
    let outcome = unpack_tar(stream, target, wanted);
    let status = child.wait()?;
    outcome?;
    if !status.success() {
        bail!("dpkg-deb ended with {status}");
    }
    Ok(())
}

/// Only regular files with plain relative paths are taken.
fn unpack_tar(stream: impl Read, target: &Path, wanted: fn(&Path) -> bool) -> Result<()> {
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry
            .path()?
            .components()
            .filter(|c| *c != Component::CurDir)
            .collect();
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !entry.header().entry_type().is_file() || !plain || !wanted(&path) {
            continue;
        }
        let to = target.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        std::io::copy(&mut entry, &mut File::create(&to)?)?;
    }
    // Read to the end, or dpkg-deb dies of a broken pipe.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_answer_is_read_and_meta_packages_followed() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nSHA256: 00\n\nPackage: other\nVersion: 1:2\nSHA256: 11\n";
        let found = stanzas(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            versioned(&found[0].depends),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            (found[1].version.as_str(), versioned(&found[1].depends)),
            ("1:2", None)
        );
        assert_eq!(
            versioned("kmod, linux-base (>= 4.3~), initramfs-tools | dracut"),
            None
        );
    }

    #[test]
    fn only_plain_files_that_are_wanted_are_unpacked() {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["./boot/vmlinuz", "./usr/doc"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(2);
            builder
                .append_data(&mut header, name, b"hi".as_slice())
                .unwrap();
        }
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder
            .append_link(&mut link, "boot/link", "/etc/passwd")
            .unwrap();
        let bytes = builder.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack_tar(bytes.as_slice(), dir.path(), |path| {
            path.starts_with("boot")
        })
        .unwrap();
        assert_eq!(fs::read(dir.path().join("boot/vmlinuz")).unwrap(), b"hi");
        assert!(!dir.path().join("usr").exists() && !dir.path().join("boot/link").exists());
    }
}
