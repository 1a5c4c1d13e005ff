//! A container image that a host image has baked in, as its container sees it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;
use orlop_qemu::{build, paths};

use crate::fixture;
use crate::odd_image::{self, OddImage, TREE};

/// An ordinary user: nobody of this machine, and without subordinate ids.
const BUILDER: u32 = 58_321;

/// The first id that a container does not have, and the one that it sees instead.
const IDS: u32 = 65_536;
const OVERFLOW: u32 = 65_534;

/// What umoci unpacks of an image is what a container sees of it, root
/// read-only or not, after a build by a user with no privilege at all.
pub(crate) fn as_umoci_unpacks() -> Result<()> {
    let place = fixture::folder("stories")?.join("baked-files");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let lister = build::binary("lister");
    let odd = odd_image::make(&place, &lister)?;
    let disk = build_as_ordinary_user(&place, &odd)?;
    let mut guest = fixture::boot(fixture::disk_of(&disk, "baked")?)?;

    let theirs = odd_image::list(&lister, &odd.unpacked)?;
    ensure!(theirs.lines().count() > 20, "umoci unpacked only\n{theirs}");
    let theirs = comparable(&theirs, odd.owned);
    if !odd.owned {
        println!("owners and capabilities are not compared: umoci gives them as root alone");
    }
    for unit in ["writable", "read-only"] {
        let ours = comparable(&listing(&guest, unit)?, odd.owned);
        compare(&ours, &theirs).with_context(|| format!("the unit {unit}"))?;
    }
    guest.power_off(fixture::PATIENCE)
}

/// What a unit's container printed, which must have ended well.
fn listing(guest: &Guest, unit: &str) -> Result<String> {
    let status = fixture::wait_state(guest, unit, UnitState::Exited)?;
    let code = status.last_exit.and_then(|exit| exit.code);
    let log = guest.operator().run(&["logs", unit])?;
    ensure!(code == Some(0), "{unit} ended with {code:?}: {log}");
    Ok(log)
}

/// Lines with what two file systems must agree on.
fn comparable(listing: &str, owned: bool) -> Vec<String> {
    // umoci cannot give owners and capabilities away unless it is root, and then
    // leaves a note of the owner.
    let roots = ["owner=", "security.capability=", "user.rootlesscontainers="];
    let kept = |word: &&str| owned || !roots.iter().any(|start| word.starts_with(start));
    let words = |line: &str| {
        let words = line.split(' ').filter(kept).map(seen_inside);
        words.collect::<Vec<_>>().join(" ")
    };
    listing.lines().map(words).collect()
}

/// A word of a line as a container sees it: an owner that it has no id for is
/// the overflow id.
fn seen_inside(word: &str) -> String {
    let Some((uid, gid)) = word
        .strip_prefix("owner=")
        .and_then(|ids| ids.split_once(':'))
    else {
        return word.to_owned();
    };
    let inside = |id: &str| match id.parse::<u32>() {
        Ok(id) if id >= IDS => OVERFLOW.to_string(),
        _ => id.to_owned(),
    };
    format!("owner={}:{}", inside(uid), inside(gid))
}

fn compare(ours: &[String], theirs: &[String]) -> Result<()> {
    let differ = |ours: &[String], theirs: &[String]| {
        let missing = theirs.iter().filter(|line| !ours.contains(line));
        missing.cloned().collect::<Vec<_>>().join("\n")
    };
    ensure!(
        ours == theirs,
        "in the container, not with umoci:\n{}\nwith umoci, not in the container:\n{}",
        differ(theirs, ours),
        differ(ours, theirs)
    );
    Ok(())
}

/// Builds a host image that bakes `odd` in, as a user without privileges where
/// this is root, and in any case without subordinate ids. Gives the disk.
fn build_as_ordinary_user(place: &Path, odd: &OddImage) -> Result<PathBuf> {
    // A place of the user's own, wherever this checkout is.
    let home = tempfile::tempdir()?;
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("binaries"))?;
    for name in [
        "orlop-init",
        "orlop-manager",
        "orlop-runtime",
        "orlop-loader",
        "orlop-image",
    ] {
        fs::copy(build::binary(name), at("binaries").join(name))?;
    }
    fs::copy(&odd.archive, at("odd.tar"))?;
    fs::copy(fixture::pki()?.join("ca.crt"), at("ca.crt"))?;
    let unit = "[container]\nimage = \"localhost/odd:1\"\n[restart]\npolicy = \"never\"\n";
    fs::write(at("writable.toml"), unit)?;
    let read_only = unit.replace("[restart]", "read-only = true\n[restart]");
    fs::write(at("read-only.toml"), read_only)?;
    fs::write(
        at("host.toml"),
        "name = \"odd\"\nversion = \"1.0.0\"\n[image]\n\
         units = [\"writable.toml\", \"read-only.toml\"]\n\
         containers = [{ source = \"odd.tar\", reference = \"localhost/odd:1\" }]\n\
         [api]\nlisten = \"0.0.0.0:7470\"\nclient-ca = \"ca.crt\"\n",
    )?;
    copy_cache(&at("cache"))?;

    let mut program = Command::new(at("binaries").join("orlop-image"));
    if rustix::process::geteuid().is_root() {
        give_away(home.path())?;
        program = Command::new("setpriv");
        program
            .arg(format!("--reuid={BUILDER}"))
            .arg(format!("--regid={BUILDER}"))
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
            .arg(at("binaries").join("orlop-image"));
    }
    program.env("HOME", home.path()).current_dir(home.path());
    program.args(["build", "host.toml", "--output", "odd.img"]);
    program.args(["--cache", "cache", "--binaries", "binaries"]);
    let output = program.output().context("cannot run orlop-image")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the build failed: {said}");
    ensure!(
        said.contains(&format!("{TREE}/null")),
        "it does not say that it leaves the device node out: {said}"
    );
    let disk = place.join("odd.img");
    for name in ["odd.img", "odd.img.d"] {
        let mut copy = Command::new("cp");
        copy.args(["-r", "--sparse=always"])
            .arg(at(name))
            .arg(place);
        build::run(&mut copy)?;
    }
    Ok(disk)
}

/// What earlier builds downloaded, as far as this one needs it; it fetches the
/// rest itself.
fn copy_cache(to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("unpacked"))?;
    let Ok(entries) = fs::read_dir(paths::cache().join("unpacked")) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("linux-image") || name.contains("-cloud-") {
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(entry.path()).arg(to.join("unpacked"));
            build::run(&mut copy)?;
        }
    }
    Ok(())
}

/// Makes [`BUILDER`] the owner of everything below `path`.
fn give_away(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_away(&entry.path())?;
        } else {
            chown(entry.path(), Some(BUILDER), Some(BUILDER))?;
        }
    }
    Ok(chown(path, Some(BUILDER), Some(BUILDER))?)
}
