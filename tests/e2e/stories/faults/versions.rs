//! Versions 2 that are bad, each in its own way.

use std::path::{Path, PathBuf};

use anyhow::Result;
use orlop_qemu::{build, paths};

use super::Form;
use crate::fixture;
use crate::releases::{self, NAME, Recipe, Release, release, release_with};
use crate::stories::crash_only::tormented_binaries;
use crate::stories::updates::COUNTS;

/// Judged soon.
const UPDATE: &str = "settle = \"3s\"\ndeadline = \"20s\"";

/// As good as version 1, as far as its builder can tell.
pub(super) fn of_kernel(file: &str, words: &str, binaries: &Path) -> Result<Release> {
    let extra = format!("[kernel]\ncommand-line = \"{words}\"\n");
    let recipe = Recipe {
        file,
        version: "2.0.0",
        update: UPDATE,
        extra: &extra,
        units: &[("web", COUNTS)],
    };
    release_with(recipe, binaries)
}

/// Its PID 1 exits at once.
pub(super) fn exiting_init(form: Form) -> Result<Release> {
    let binaries = fixture::once("exiting-binaries", |place| {
        std::fs::create_dir_all(place)?;
        for name in ["orlop-manager", "orlop-runtime", "orlop-loader"] {
            std::fs::copy(build::binary(name), place.join(name))?;
        }
        // Which wants to be told what to list.
        std::fs::copy(build::binary("lister"), place.join("orlop-init"))?;
        Ok(())
    })?;
    of_kernel("fault-exits", form.shortened("panic=1"), &binaries)
}

/// In its manager's place something does what `order` says, each time.
pub(super) fn tormented(order: &str, form: Form) -> Result<Release> {
    let short = form.shortened("panic=1");
    let words = format!("chaos={order} {short}");
    of_kernel(&format!("fault-{order}"), &words, &tormented_binaries()?)
}

/// Its units are `units`; it has to be well for `settle`.
pub(super) fn of_units(version: &str, settle: &str, units: &[(&str, &str)]) -> Result<Release> {
    release(Recipe {
        file: &format!("fault-{version}"),
        version,
        update: &format!("settle = {settle:?}\ndeadline = \"20s\""),
        extra: "",
        units,
    })
}

/// A bundle of version 2.0.0 for hosts called `name`, signed with `key`.
pub(super) fn bundle_for(name: &str, file: &str, key: &Path) -> Result<PathBuf> {
    let image = fixture::once(&format!("{file}/disk.img"), |path| {
        let host = fixture::host_toml(file, (name, "2.0.0"), "", &[], &[])?;
        build::disk_and_bundle(&host, path, &paths::binaries(), key)
    })?;
    Ok(image.with_file_name(format!("{name}-2.0.0.orlop")))
}

/// The bundle of a version that has no container images at all.
pub(super) fn without_images(version: &str) -> Result<PathBuf> {
    let (key, public) = releases::key()?;
    let file = format!("fault-{version}");
    let image = fixture::once(&format!("{file}/disk.img"), |path| {
        let extra = format!("[update]\nkeys = [{public:?}]\n{UPDATE}\n");
        let host = fixture::host_toml(&file, (NAME, version), &extra, &[], &[])?;
        build::disk_and_bundle(&host, path, &paths::binaries(), &key)
    })?;
    Ok(image.with_file_name(format!("{NAME}-{version}.orlop")))
}
