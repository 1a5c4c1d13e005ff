//! What a host image takes from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::Inputs;
use crate::kernel::debs::{Debs, Package};
use crate::kernel::modules::Modules;

/// What comes from Debian's packages.
pub(crate) struct Debian {
    pub(crate) kernel: Vec<u8>,
    pub(crate) modules: Modules,
    pub(crate) boot_loader: Vec<u8>,
    pub(crate) stub: Vec<u8>,
    pub(crate) e2fsck: Vec<u8>,
    pub(crate) packages: Vec<Package>,
}

/// Fetches and reads the packages that `inputs` need.
///
/// # Errors
/// Packages that cannot be had, at their place in the host TOML.
pub(crate) fn read(debs: &Debs, inputs: &Inputs) -> Result<Debian> {
    let name = &inputs.host.value.kernel.package;
    let fail = |error: anyhow::Error| inputs.error("kernel.package", format!("{error:#}"), None);
    let packages = debs
        .resolve(&[name, "systemd-boot-efi", "e2fsck-static"])
        .map_err(fail)?;
    let [kernel, boot, check] = packages.as_slice() else {
        bail!("apt gave other packages")
    };
    let wanted = |path: &Path| {
        path.starts_with("boot") && !path.to_string_lossy().contains("System.map")
            || path.starts_with("lib/modules")
    };
    let kernel_dir = debs.unpacked(kernel, wanted)?;
    let boot_dir = debs.unpacked(boot, |path| path.starts_with("usr/lib/systemd/boot/efi"))?;
    let check_dir = debs.unpacked(check, |path| path.starts_with("sbin"))?;
    let read =
        |path: PathBuf| fs::read(&path).with_context(|| format!("reading {}", path.display()));
    let efi = boot_dir.join("usr/lib/systemd/boot/efi");
    Ok(Debian {
        kernel: read(only(&kernel_dir.join("boot"), "vmlinuz-")?)?,
        modules: Modules::open(&only(&kernel_dir.join("lib/modules"), "")?)?,
        boot_loader: read(efi.join("systemd-bootx64.efi"))?,
        stub: read(efi.join("linuxx64.efi.stub"))?,
        e2fsck: read(check_dir.join("sbin/e2fsck.static"))?,
        packages,
    })
}

/// The one entry of `dir` whose name begins with `prefix`.
fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(_) => bail!(
            "{}: expected one {prefix}… in it, as kernel packages have",
            dir.display()
        ),
    }
}
