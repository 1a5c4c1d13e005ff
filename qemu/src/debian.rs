//! The Debian packages that building and booting need: which are missing, and
//! how they get installed.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What building an image and booting it needs.
pub const FOR_UP: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "gcc",
    "libc6-dev",
    "ovmf",
    "qemu-system-x86",
    "qemu-utils",
];

/// What the tests need beyond [`FOR_UP`]: trusted tools to compare with, and
/// the makers of real container images.
pub const FOR_TESTS: &[&str] = &[
    "cryptsetup-bin",
    "curl",
    "dnsmasq-base",
    "dosfstools",
    "erofs-utils",
    "fdisk",
    // For mmdebstrap, which makes the image of a Debian guest with it.
    "genext2fs",
    "iproute2",
    "mmdebstrap",
    "mtools",
    "nftables",
    "openssl",
    "python3-dbus",
    "skopeo",
    // For mmdebstrap as an ordinary user: newuidmap.
    "uidmap",
    "umoci",
];

/// What measuring the runtime needs: runtimes to measure beside it, what tells memory and
/// system calls, and a container's content.
pub const FOR_RUNTIME_BENCH: &[&str] = &[
    "busybox-static",
    "coreutils",
    "crun",
    "runc",
    "strace",
    "time",
    "util-linux",
];

/// Installs whatever of `wanted` is missing, after saying which.
///
/// # Errors
///
/// When packages are missing and this is neither root nor has `sudo`: the error
/// holds the exact command to run. Also when `apt-get` fails, or when packages of
/// `wanted` exclude one another.
pub fn ensure(wanted: &[&str]) -> Result<()> {
    ensure_as(as_root, wanted)
}

fn ensure_as(
    root: impl FnOnce() -> Option<&'static [&'static str]> + Copy,
    wanted: &[&str],
) -> Result<()> {
    install(root, &missing(wanted)?)?;
    // A package that was there in a newer version (from backports, say) is removed when
    // one comes that goes with Debian's own alone, as qemu-system-x86 does to qemu-utils.
    install(root, &missing(wanted)?)?;
    let lost = missing(wanted)?;
    if !lost.is_empty() {
        bail!("apt-get removes these packages for others that are needed as well: {lost:?}");
    }
    Ok(())
}

fn install(
    root: impl FnOnce() -> Option<&'static [&'static str]>,
    missing: &BTreeSet<&str>,
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<&str> = missing.iter().copied().collect();
    eprintln!("Debian packages to install: {}", list.join(" "));
    let command = format!(
        "apt-get update && apt-get install --no-install-recommends {}",
        list.join(" ")
    );
    let prefix = root().with_context(|| {
        format!(
            "these packages are missing, and this is neither root nor is there sudo; \
             run as root:\n  {command}"
        )
    })?;
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(&list);
    apt(prefix, &["update", "-qq"])
        .and_then(|()| apt(prefix, &words))
        .with_context(|| {
            format!("the packages could not be installed; by hand, as root:\n  {command}")
        })
}

/// What to put before a command that only root may run; `None` where this is
/// neither root nor has `sudo`.
pub fn as_root() -> Option<&'static [&'static str]> {
    if rustix::process::geteuid().is_root() {
        Some(&[])
    } else {
        let sudo = Command::new("sudo").arg("-V").output();
        sudo.is_ok().then_some(&["sudo"])
    }
}

fn missing<'a>(wanted: &[&'a str]) -> Result<BTreeSet<&'a str>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("cannot run dpkg-query: this needs a Debian machine")?;
    Ok(not_installed(
        wanted,
        &String::from_utf8_lossy(&output.stdout),
    ))
}

/// The packages of `wanted` that `listing` (lines of `NAME STATUS`) does not
/// show as installed.
fn not_installed<'a>(wanted: &[&'a str], listing: &str) -> BTreeSet<&'a str> {
    let installed: BTreeSet<&str> = listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    wanted
        .iter()
        .copied()
        .filter(|name| !installed.contains(name))
        .collect()
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    let mut words = prefix.to_vec();
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    words.extend(arguments);
    let (program, rest) = words.split_first().context("an empty command")?;
    let status = Command::new(program)
        .args(rest)
        .stdout(std::process::Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", words.join(" ")))?;
    if !status.success() {
        bail!(
            "`{}` ended with {status}; see its messages above",
            words.join(" ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ensure_as, not_installed};

    #[test]
    fn only_installed_packages_count() {
        let listing = "ovmf installed\ngcc config-files\nmtools not-installed\n";
        let missing = not_installed(&["ovmf", "gcc", "mtools", "curl"], listing);
        assert_eq!(
            missing.into_iter().collect::<Vec<_>>(),
            ["curl", "gcc", "mtools"]
        );
    }

    #[test]
    fn without_root_the_command_for_it_is_told() {
        ensure_as(|| None, &["dpkg"]).unwrap();
        let error = ensure_as(|| None, &["dpkg", "orlop-b", "orlop-a"]).unwrap_err();
        let told = format!("{error:#}");
        let command =
            "\n  apt-get update && apt-get install --no-install-recommends orlop-a orlop-b";
        assert!(told.ends_with(command), "{told}");
    }
}
