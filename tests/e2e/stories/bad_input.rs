//! Bad input gets a clear error, and what ran goes on running.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;
use orlop_qemu::{build, paths};

use crate::fixture::{self, PATIENCE};

/// A unit that must not be touched by anything in these stories.
const GOOD: &str = "[container]\nimage = \"localhost/busybox:1\"\nports = [\"81:81\"]\n";

fn busybox(rest: &str) -> String {
    format!("[container]\nimage = \"localhost/busybox:1\"\n{rest}")
}

/// Unit files that `apply` must refuse, and words that its answer must have.
fn refused() -> Vec<(&'static str, String, &'static [&'static str])> {
    vec![
        (
            "typo",
            busybox("comand = [\"x\"]\n"),
            &["typo.toml:3:1", "command"],
        ),
        (
            "kind",
            busybox("read-only = \"yes\"\n"),
            &["kind.toml:3:", "true"],
        ),
        (
            "port",
            busybox("ports = [\"70000:80\"]\n"),
            &["port.toml:3:", "65535"],
        ),
        (
            "size",
            busybox("[resources]\nmemory = \"256Q\"\n"),
            &["size.toml:4:", "256"],
        ),
        ("twice", busybox("ports = [\"81:9000\"]\n"), &["81", "good"]),
        (
            "lonely",
            format!("[unit]\nrequires = [\"nobody\"]\n{}", busybox("")),
            &["nobody"],
        ),
        ("empty", String::new(), &["empty.toml"]),
        ("huge", "#".repeat(10 << 20), &["huge.toml"]),
    ]
}

/// Every refused file leaves the good unit's process alone.
pub(crate) fn unit_files() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "bad-units")?)?;
    fixture::apply(&guest, &[("good", GOOD)])?;
    let good = fixture::wait_state(&guest, "good", UnitState::Running)?;

    for (name, text, words) in refused() {
        let answer = fixture::try_apply(&guest, &[(name, text.as_bytes())])?;
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!answer.status.success(), "{name} was taken");
        for word in words {
            ensure!(said.contains(word), "{name}: no {word:?} in:\n{said}");
        }
        let answer = guest.operator().try_run(&["status", name])?;
        ensure!(
            String::from_utf8_lossy(&answer.stderr).contains("no unit is named"),
            "{name} is there: {answer:?}"
        );
    }
    let answer = fixture::try_apply(
        &guest,
        &[("latin", &b"[unit]\ndescription = \"caf\xe9\"\n"[..])],
    )?;
    ensure!(
        String::from_utf8_lossy(&answer.stderr).contains("UTF-8"),
        "{answer:?}"
    );

    cycle_is_named(&guest)?;

    // A bad file for the unit that runs.
    let answer = fixture::try_apply(&guest, &[("good", b"[container]\nimage = 7\n")])?;
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(
        !answer.status.success() && said.contains("good.toml:2:9"),
        "{said}"
    );

    // One bad file of several: nothing of the set is taken.
    let mixed = [("fine", busybox("")), ("broken", busybox("nonsense = 1\n"))];
    let files: Vec<(&str, &[u8])> = mixed
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    ensure!(
        !fixture::try_apply(&guest, &files)?.status.success(),
        "half a set was taken"
    );
    let units = guest.operator().units()?;
    ensure!(
        units.len() == 1,
        "only the good unit may be there: {units:?}"
    );

    let after = guest.operator().unit("good")?;
    ensure!(
        after.pid == good.pid && after.restarts == 0,
        "the good unit was touched: {after:?}"
    );
    guest.power_off(PATIENCE)
}

/// Units that require each other are refused by naming the circle.
fn cycle_is_named(guest: &Guest) -> Result<()> {
    let cycle = [
        (
            "one",
            format!("[unit]\nrequires = [\"two\"]\n{}", busybox("")),
        ),
        (
            "two",
            format!("[unit]\nrequires = [\"one\"]\n{}", busybox("")),
        ),
    ];
    let files: Vec<(&str, &[u8])> = cycle
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let answer = fixture::try_apply(guest, &files)?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    ensure!(
        said.contains("one -> two -> one"),
        "the cycle is not named:\n{said}"
    );
    Ok(())
}

/// Containers that cannot run: `status` says why, and what to do; the one beside
/// them goes on running.
pub(crate) fn containers() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "bad-containers")?)?;
    fixture::apply(&guest, &[("good", GOOD)])?;
    let good = fixture::wait_state(&guest, "good", UnitState::Running)?;
    let never = "[restart]\npolicy = \"never\"\n";
    let no_image = format!("[container]\nimage = \"localhost/absent:9\"\n{never}");
    let no_command = busybox(&format!("command = [\"/no/such/thing\"]\n{never}"));
    let no_secret = busybox(&format!("secrets = [\"absent\"]\n{never}"));
    fixture::apply(
        &guest,
        &[
            ("no-image", &no_image),
            ("no-command", &no_command),
            ("no-secret", &no_secret),
        ],
    )?;
    let advice = "load it with `orlop load FILE`";
    expect_reason(&guest, "no-image", &["localhost/absent:9", advice])?;
    let advice = "first word must name";
    expect_reason(&guest, "no-command", &["/no/such/thing", advice])?;
    let advice = "expected the file /var/lib/orlop/secrets/absent";
    expect_reason(&guest, "no-secret", &[advice])?;
    another_architecture(&guest)?;
    let after = guest.operator().unit("good")?;
    ensure!(
        (after.state, after.pid, after.restarts) == (UnitState::Running, good.pid, 0),
        "{good:?} became {after:?}"
    );
    guest.power_off(PATIENCE)
}

/// An image for another machine is neither loaded nor baked in, and a program
/// for one, in an image that claims to be for this, says what it is.
fn another_architecture(guest: &Guest) -> Result<()> {
    let place = fixture::folder("stories/bad-containers")?;
    let (archive, program) = (place.join("arm.tar"), place.join("arm"));
    // The head of an ELF program for arm64 (machine 183), and nothing else.
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    head.resize(4096, 0);
    std::fs::write(&program, head)?;
    let mut oci = Command::new(build::binary("orlop-image"));
    oci.args(["oci", "--reference", "localhost/arm:1", "--cmd=/arm"]);
    oci.args(["--architecture", "arm64", "--output"])
        .arg(&archive);
    oci.arg("--file")
        .arg(format!("{}:/arm:755", program.display()));
    build::run(&mut oci)?;

    let load = guest
        .operator()
        .try_run(&["load", &archive.display().to_string()])?;
    let host = place.join("arm.toml");
    let text =
        "name = \"arm\"\nversion = \"1\"\n[image]\ncontainers = [{ source = \"arm.tar\" }]\n";
    std::fs::write(&host, text)?;
    let mut builder = Command::new(build::binary("orlop-image"));
    builder
        .arg("build")
        .arg(&host)
        .arg("--output")
        .arg(place.join("arm.img"));
    builder.arg("--cache").arg(paths::cache());
    builder.arg("--binaries").arg(paths::binaries());
    for (what, answer, place) in [
        ("load", load, ""),
        ("build", builder.output()?, "arm.toml:4:"),
    ] {
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!answer.status.success(), "{what} took an image for arm64");
        for word in ["localhost/arm:1", "linux/arm64", "linux/amd64", place] {
            ensure!(said.contains(word), "{what}: no {word:?} in {said}");
        }
    }
    ensure!(
        !guest.operator().run(&["images"])?.contains("localhost/arm"),
        "the refused image is listed"
    );

    let liar = place.join("liar.tar");
    let files = [(program.as_path(), "/arm:755")];
    build::container(&liar, "localhost/liar:1", &files, &["/arm"])?;
    guest
        .operator()
        .run(&["load", &liar.display().to_string()])?;
    let unit = "[container]\nimage = \"localhost/liar:1\"\n[restart]\npolicy = \"never\"\n";
    fixture::apply(guest, &[("liar", unit)])?;
    expect_reason(guest, "liar", &["/arm", "another architecture"])
}

fn expect_reason(guest: &Guest, name: &str, words: &[&str]) -> Result<()> {
    fixture::wait_state(guest, name, UnitState::Failed)?;
    let reason = guest.operator().unit(name)?.reason.context("no reason")?;
    for word in words {
        ensure!(reason.contains(word), "{name}: no {word:?} in {reason:?}");
    }
    Ok(())
}
