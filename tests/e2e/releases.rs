//! Versions of a host's image as they are released: a disk, and the bundle that
//! updates to it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context as _, Result};
use orlop_qemu::{build, paths};

use crate::fixture;

/// The host's name in all of them.
pub(crate) const NAME: &str = "shop";

/// A version.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// The disk, as a factory would write it.
    pub(crate) image: PathBuf,
    /// The update bundle.
    pub(crate) bundle: PathBuf,
}

/// What a version is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe<'a> {
    /// Of its folder: no two recipes have the same.
    pub(crate) file: &'a str,
    pub(crate) version: &'a str,
    /// Lines of `[update]`, beside its keys.
    pub(crate) update: &'a str,
    /// More tables of the host TOML.
    pub(crate) extra: &'a str,
    pub(crate) units: &'a [(&'a str, &'a str)],
}

/// The key that signs, and its public one.
pub(crate) fn key() -> Result<(PathBuf, String)> {
    static PUBLIC: OnceLock<Mutex<Option<String>>> = OnceLock::new();
    let mut public = PUBLIC
        .get_or_init(Mutex::default)
        .lock()
        .map_err(|_| anyhow::anyhow!("another story failed while it made the key"))?;
    let path = fixture::folder("shared")?.join("update.key");
    if public.is_none() {
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        *public = Some(build::update_key(&path)?);
    }
    let public = public.clone().context("made a moment ago")?;
    Ok((path, public))
}

/// Builds a version with the host's own programs.
pub(crate) fn release(recipe: Recipe<'_>) -> Result<Release> {
    release_with(recipe, &paths::binaries())
}

/// Builds a version with the host's programs from `binaries`.
pub(crate) fn release_with(recipe: Recipe<'_>, binaries: &Path) -> Result<Release> {
    let (key, public) = key()?;
    let containers = fixture::with_busybox(&[])?;
    let Recipe {
        file,
        version,
        update,
        extra,
        units,
    } = recipe;
    let image = fixture::once(&format!("{file}/disk.img"), |path| {
        let extra = format!("[update]\nkeys = [{public:?}]\n{update}\n{extra}");
        let host = fixture::host_toml(file, (NAME, version), &extra, units, &containers)?;
        build::disk_and_bundle(&host, path, binaries, &key)
    })?;
    let bundle = image.with_file_name(format!("{NAME}-{version}.orlop"));
    Ok(Release { image, bundle })
}
