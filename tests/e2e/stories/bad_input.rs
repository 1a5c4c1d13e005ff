//! Bad input gets a clear error, and what ran goes on running.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;

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
        ensure!(
            guest.operator().try_run(&["status", name])?.status.code() == Some(1),
            "{name} is there"
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
    let answer = fixture::try_apply(&guest, &files)?;
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    ensure!(
        said.contains("one -> two -> one"),
        "the cycle is not named:\n{said}"
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

/// Containers that cannot run: `status` says why.
pub(crate) fn containers() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "bad-containers")?)?;
    let never = "[restart]\npolicy = \"never\"\n";
    let no_image = format!("[container]\nimage = \"localhost/absent:9\"\n{never}");
    let no_command = busybox(&format!("command = [\"/no/such/thing\"]\n{never}"));
    fixture::apply(
        &guest,
        &[("no-image", &no_image), ("no-command", &no_command)],
    )?;
    expect_reason(&guest, "no-image", &["localhost/absent:9"])?;
    expect_reason(&guest, "no-command", &["/no/such/thing"])?;
    guest.power_off(PATIENCE)
}

fn expect_reason(guest: &Guest, name: &str, words: &[&str]) -> Result<()> {
    fixture::wait_state(guest, name, UnitState::Failed)?;
    let reason = guest.operator().unit(name)?.reason.context("no reason")?;
    for word in words {
        ensure!(reason.contains(word), "{name}: no {word:?} in {reason:?}");
    }
    Ok(())
}
