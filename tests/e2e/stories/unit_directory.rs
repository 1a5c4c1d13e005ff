//! Files in the unit directory: dropped there by a container while the host
//! runs, and those that should not be there, put there while it was off, as by
//! whoever had its disk in another machine.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};
use crate::state_files::{self, Put};

const GOOD: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// The directory of applied units, as the state partition has it.
const UNITS: &str = "/etc/orlop/units";

/// What is put there, and what `orlop status` must say of each.
fn odd_things(huge: &[u8]) -> Vec<(&'static str, Put<'_>, [&'static str; 2])> {
    let latin = b"[unit]\ndescription = \"caf\xe9\"\n";
    let typo = b"[container]\nimgae = \"x:1\"\n";
    let removed = "`orlop rm ";
    vec![
        (
            "dangling",
            Put::Link("/no/where"),
            ["leads nowhere", removed],
        ),
        (
            "circle",
            Put::Link("circle.toml"),
            ["symbolic link", removed],
        ),
        ("endless", Put::Link("/dev/zero"), ["device", removed]),
        ("pipe", Put::Pipe, ["pipe", removed]),
        ("folder", Put::Directory, ["a directory", removed]),
        ("huge", Put::File(huge), ["1 MiB", "volume"]),
        ("empty", Put::File(b""), ["empty.toml", "fill it"]),
        ("latin", Put::File(latin), ["latin.toml:2:", "UTF-8"]),
        ("typo", Put::File(typo), ["typo.toml:2:1", "`image`"]),
    ]
}

/// Each odd thing is told of, none keeps the good unit from running, and each
/// can be taken away or replaced with the `orlop` command.
pub(crate) fn odd_files() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let config = fixture::disk_of(&image, "odd-files")?;
    let mut guest = fixture::boot(config.clone())?;
    fixture::apply(&guest, &[("good", GOOD)])?;
    fixture::wait_state(&guest, "good", UnitState::Running)?;
    guest.power_off(PATIENCE)?;

    let huge = vec![b'#'; 10 << 20];
    let odd = odd_things(&huge);
    let files: Vec<(String, &Put<'_>)> = odd
        .iter()
        .map(|(name, thing, _)| (format!("{name}.toml"), thing))
        .collect();
    state_files::put(&config.disk, UNITS, &files)?;

    let mut guest = fixture::boot(config)?;
    let good = fixture::wait_state(&guest, "good", UnitState::Running)?;
    for (name, _, words) in &odd {
        fixture::wait_state(&guest, name, UnitState::Rejected)?;
        let answer = guest.operator().try_run(&["status", name])?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(answer.status.code() == Some(1), "{name}: {answer:?}");
        for word in words {
            ensure!(said.contains(word), "{name}: no {word:?} in\n{said}");
        }
    }
    taken_away_or_replaced(&guest, &odd.iter().map(|odd| odd.0).collect::<Vec<_>>())?;
    let after = guest.operator().unit("good")?;
    ensure!(
        after.pid == good.pid && after.restarts == 0,
        "the good unit was touched: {after:?}"
    );
    guest.power_off(PATIENCE)
}

fn taken_away_or_replaced(guest: &Guest, names: &[&str]) -> Result<()> {
    let (replaced, removed) = names.split_first().context("odd things")?;
    fixture::apply(guest, &[(replaced, GOOD)])?;
    fixture::wait_state(guest, replaced, UnitState::Running)?;
    let refused = fixture::try_apply(guest, &[("folder", GOOD.as_bytes())])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        !refused.status.success() && said.contains("`orlop rm folder` removes it"),
        "a file in place of a directory: {refused:?}"
    );
    for name in removed {
        guest.operator().run(&["rm", name])?;
    }
    guest.wait_units("the good units alone", PATIENCE, |units| units.len() == 2)?;
    Ok(())
}

/// A unit that is given the directory, as one that follows a repository is.
const DEPLOYER: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    volumes = [\"/etc/orlop/units:/units\"]\n";

/// A unit file runs once it is dropped, a bad one over it changes nothing and is
/// told of, and its unit stops once it is gone.
pub(crate) fn dropped_files() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "dropped-files")?)?;
    fixture::apply(&guest, &[("deployer", DEPLOYER)])?;
    fixture::wait_state(&guest, "deployer", UnitState::Running)?;
    let deploy = |script: &str| {
        let shell = ["exec", "deployer", "busybox", "sh", "-c"];
        guest.operator().run(&[&shell[..], &[script]].concat())
    };

    // Written beside and renamed, as editors do.
    let good = GOOD.replace('\n', "\\n");
    deploy(&format!(
        "printf '{good}' > /units/dropped.toml~ && busybox mv /units/dropped.toml~ /units/dropped.toml"
    ))?;
    let first = fixture::wait_state(&guest, "dropped", UnitState::Running)?;

    deploy("echo 'imgae = 1' > /units/dropped.toml")?;
    deploy("busybox ln -s /no/where /units/dangling.toml")?;
    fixture::wait_state(&guest, "dangling", UnitState::Rejected)?;
    fixture::wait("the error to be told", || {
        let answer = guest.operator().try_run(&["status"])?;
        Ok(String::from_utf8_lossy(&answer.stdout).contains("dropped.toml:1:1"))
    })?;
    let after = guest.operator().unit("dropped")?;
    ensure!(
        after.pid == first.pid && after.state == UnitState::Running,
        "what ran does not go on: {after:?}"
    );

    deploy("busybox rm /units/dropped.toml")?;
    guest.wait_units("the dropped unit to stop", PATIENCE, |units| {
        !units
            .iter()
            .any(|unit| unit.name == "dropped" && unit.pid.is_some())
    })?;
    guest.power_off(PATIENCE)
}
