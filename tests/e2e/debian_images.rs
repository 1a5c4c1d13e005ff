//! Container images of real software, made of Debian's packages by Debian's
//! tools: two layers each, the second one umoci's difference to the first.
//!
//! They are kept under the cache, since nothing of the project goes into them
//! but what this file says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use orlop_qemu::{build, paths};

use crate::fixture;

/// What both images stand on.
const BASE: &str = "base-files,base-passwd,libc6";

/// nginx, serving a page of its own on port 80.
pub(crate) fn nginx() -> Result<PathBuf> {
    image("nginx", "nginx-light", &["nginx", "-g", "daemon off;"])
}

/// redis, reachable from other containers on port 6379.
pub(crate) fn redis() -> Result<PathBuf> {
    let command = [
        "redis-server",
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
        "--dir",
        "/data",
    ];
    image("redis", "redis-server", &command)
}

/// The OCI archive `localhost/NAME:1` of `package`.
fn image(name: &str, package: &str, command: &[&str]) -> Result<PathBuf> {
    let place = paths::cache().join("e2e-images").join(name);
    let archive = place.join(format!(
        "image-{}.tar",
        fixture::recipe(include_str!("debian_images.rs"))
    ));
    if archive.exists() {
        return Ok(archive);
    }
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let layout = place.join("layout");
    let target = format!("{}:1", layout.display());
    let bundle = place.join("bundle");
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &target])?;
    unpack(&target, &bundle)?;
    for (layer, packages) in [
        ("base", BASE.to_owned()),
        ("full", format!("{BASE},{package}")),
    ] {
        let tar = place.join(format!("{layer}.tar"));
        extract(&packages, &tar)?;
        let rootfs = bundle.join("rootfs");
        build::run(
            Command::new("tar")
                .arg("-xf")
                .arg(&tar)
                .arg("-C")
                .arg(&rootfs),
        )?;
        std::fs::remove_file(&tar)?;
        finish(&rootfs)?;
        umoci(&[
            "repack",
            "--refresh-bundle",
            "--image",
            &target,
            &bundle.display().to_string(),
        ])?;
    }
    let mut config = vec![
        "config".to_owned(),
        "--image".into(),
        target,
        "--clear=config.cmd".into(),
    ];
    config.push("--config.env=PATH=/usr/sbin:/usr/bin:/sbin:/bin".into());
    config.extend(command.iter().map(|word| format!("--config.cmd={word}")));
    umoci(&config.iter().map(String::as_str).collect::<Vec<_>>())?;
    let layout = format!("{}:1", layout.display());
    pack(&layout, &format!("localhost/{name}:1"), &archive)
        .with_context(|| format!("packing {name}"))?;
    std::fs::remove_dir_all(&bundle)?;
    Ok(archive)
}

/// Unpacks packages and what they depend on, without running their scripts.
fn extract(packages: &str, tar: &Path) -> Result<()> {
    build::run(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=extract", "--format=tar"])
            // Device nodes, which only root can make again from the archive.
            .arg("--skip=output/dev")
            .arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
            .args([
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
            ])
            .args(["--dpkgopt=path-exclude=/usr/share/locale/*"])
            .arg(format!("--include={packages}"))
            .arg("bookworm")
            .arg(tar),
    )
}

/// What the packages' scripts would have made.
fn finish(rootfs: &Path) -> Result<()> {
    for (master, name) in [("passwd.master", "passwd"), ("group.master", "group")] {
        std::fs::copy(
            rootfs.join("usr/share/base-passwd").join(master),
            rootfs.join("etc").join(name),
        )
        .with_context(|| format!("etc/{name}"))?;
    }
    for folder in ["data", "run", "tmp", "var/lib/nginx", "var/log/nginx"] {
        std::fs::create_dir_all(rootfs.join(folder))?;
    }
    let page = rootfs.join("var/www/html");
    if rootfs.join("usr/sbin/nginx").exists() {
        std::fs::create_dir_all(&page)?;
        std::fs::write(
            page.join("index.html"),
            "<h1>Welcome to nginx on Orlop</h1>\n",
        )?;
        let enabled = rootfs.join("etc/nginx/sites-enabled");
        std::fs::create_dir_all(&enabled)?;
        let site = enabled.join("default");
        if !site.exists() {
            std::os::unix::fs::symlink("/etc/nginx/sites-available/default", site)?;
        }
    }
    Ok(())
}

/// One archive of a layout, named `reference` in it.
pub(crate) fn pack(layout: &str, reference: &str, archive: &Path) -> Result<()> {
    let beside = archive.with_extension("part");
    build::run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .arg(format!("oci:{layout}"))
            .arg(format!("oci-archive:{}:{reference}", beside.display())),
    )?;
    Ok(std::fs::rename(beside, archive)?)
}

/// Unpacks `image`; whether its files could be given their owners, as only root can.
pub(crate) fn unpack(image: &str, bundle: &Path) -> Result<bool> {
    let owned = rustix::process::geteuid().is_root();
    let bundle = bundle.display().to_string();
    let mut arguments = vec!["unpack", "--image", image];
    if !owned {
        arguments.push("--rootless");
    }
    arguments.push(&bundle);
    umoci(&arguments)?;
    Ok(owned)
}

pub(crate) fn umoci(arguments: &[&str]) -> Result<()> {
    build::run(
        Command::new("umoci")
            .args(["--log", "error"])
            .args(arguments),
    )
}
