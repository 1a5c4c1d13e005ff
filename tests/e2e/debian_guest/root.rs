//! The root of the Debian guest: an image that is made of packages and kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use orlop_qemu::{build, paths};

use crate::fixture;

/// What the guest has.
const PACKAGES: &[&str] = &[
    "apparmor",
    "base-files",
    "base-passwd",
    "bsdutils",
    "buildah",
    "busybox-static",
    "catatonit",
    "containerd",
    "coreutils",
    "dash",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "mount",
    "podman",
    "systemd-sysv",
    "uidmap",
    "util-linux",
];

/// What it has not, of those.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/lib/modules/*/kernel/drivers/*",
];

/// A file system and the kernel that mounts it.
pub(super) struct Root {
    pub(super) image: PathBuf,
    pub(super) kernel: PathBuf,
}

impl Root {
    fn below(folder: &Path) -> Root {
        Root {
            image: folder.join("root.ext2"),
            kernel: folder.join("vmlinuz"),
        }
    }
}

/// The guest's root, made if there is none of this recipe.
pub(super) fn root() -> Result<Root> {
    let recipe = fixture::recipe(include_str!("root.rs"));
    fixture::once("debian-guest", |_| {
        let place = paths::cache().join("debian-guest");
        if place.join(&recipe).exists() {
            return Ok(());
        }
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        let beside = place.join("part");
        std::fs::create_dir_all(&beside)?;
        make(&beside)?;
        Ok(std::fs::rename(beside, place.join(&recipe))?)
    })?;
    Ok(Root::below(
        &paths::cache().join("debian-guest").join(recipe),
    ))
}

fn make(place: &Path) -> Result<()> {
    let Root {
        image,
        kernel: file,
    } = Root::below(place);
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=extract", "--format=ext2"])
        .arg("--skip=output/dev")
        .arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
        .arg(format!("--include={}", PACKAGES.join(",")));
    for path in LEFT_OUT {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    build::run(mmdebstrap.arg("bookworm").arg(&image))?;
    let listing = debugfs(&image, "ls -p /boot")?;
    let kernel = listing
        .split('/')
        .find(|name| name.starts_with("vmlinuz-"))
        .with_context(|| format!("no kernel in {}: {listing}", image.display()))?;
    debugfs(&image, &format!("dump /boot/{kernel} {}", file.display()))?;
    ensure!(file.exists(), "debugfs did not copy {kernel}");
    Ok(())
}

fn debugfs(image: &Path, request: &str) -> Result<String> {
    let output = Command::new("/sbin/debugfs")
        .args(["-R", request])
        .arg(image)
        .output()
        .context("cannot run debugfs")?;
    Ok(String::from_utf8(output.stdout)?)
}
