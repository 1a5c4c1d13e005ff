//! Invariant I2: the manager is killed again and again, and nothing is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::{Desired, UnitState};
use orlop_qemu::guest::Guest;
use orlop_qemu::{build, paths};

use crate::fixture::{self, PATIENCE};

/// Kills that must fall.
const KILLS: u32 = 100;

/// Lines in one life of a writer: about two seconds of writing.
const LINES: u64 = 60_000;

/// The writers' names.
const WRITERS: [&str; 2] = ["writer-a", "writer-b"];

fn writer_unit(name: &str) -> String {
    format!(
        "[container]\nimage = \"localhost/writer:1\"\nvolumes = [\"{name}:/data\"]\n\
         command = [\"/bin/writer\", \"/data/life\", \"{LINES}\"]\n\
         [restart]\npolicy = \"always\"\nbackoff-min = \"100ms\"\nbackoff-max = \"1s\"\n\
         [logs]\nmax-size = \"1G\"\n"
    )
}

/// A unit whose definition changes with each apply.
fn flip_unit(number: u32) -> String {
    format!(
        "[unit]\ndescription = \"flip {number}\"\n[container]\nimage = \"localhost/busybox:1\"\n\
         environment = {{ FLIP = \"{number}\" }}\n"
    )
}

/// Programs with the tormentor in the manager's place.
fn tormented_binaries() -> Result<PathBuf> {
    let place = fixture::folder("shared/chaos-binaries")?;
    for name in ["orlop-init", "orlop-runtime"] {
        std::fs::copy(build::binary(name), place.join(name))?;
    }
    let manager = std::fs::read(build::binary("orlop-manager"))?;
    let mut all = std::fs::read(build::binary("chaos-manager"))?;
    all.extend_from_slice(&manager);
    all.extend_from_slice(&u64::try_from(manager.len())?.to_le_bytes());
    let file = place.join("orlop-manager");
    std::fs::write(&file, all)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(place)
}

/// A host image with the tormentor, the writers and a unit to be changed.
pub(crate) fn tormented_image() -> Result<PathBuf> {
    let writer = fixture::once("writer.tar", |path| {
        let program = build::binary("chaos-writer");
        build::container(
            path,
            "localhost/writer:1",
            &[(&program, "/bin/writer:755")],
            &["/bin/writer"],
        )
    })?;
    let units: Vec<(&str, String)> = WRITERS
        .iter()
        .map(|name| (*name, writer_unit(name)))
        .collect();
    let units: Vec<(&str, &str)> = units
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    fixture::host_image_with(
        "tormented",
        "",
        &units,
        &[("localhost/writer:1", &writer)],
        &tormented_binaries()?,
    )
}

/// A hundred kills; every line and every exit code once, no request forgotten.
pub(crate) fn hundred_kills() -> Result<()> {
    let mut config = fixture::disk_of(&tormented_image()?, "hundred-kills")?;
    config.append = format!("chaos=kill:{KILLS}");
    let mut guest = fixture::boot(config)?;
    let last = flip_until_rest(&guest)?;

    let wanted = format!("flip {last}");
    guest.wait_units(
        &format!("{wanted}, the last that was acknowledged"),
        PATIENCE,
        |units| {
            units.iter().any(|unit| {
                unit.name == "flip"
                    && unit.description == wanted
                    && unit.state == UnitState::Running
            })
        },
    )?;
    for name in WRITERS {
        stop_and_check(&guest, name)?;
    }
    guest.power_off(PATIENCE)
}

/// Applies one change after another until the tormentor rests; the number of
/// the last change that was acknowledged.
fn flip_until_rest(guest: &Guest) -> Result<u32> {
    let rest = format!("chaos: rests after {KILLS} kills");
    let deadline = Instant::now() + Duration::from_secs(900);
    let mut acknowledged = 0;
    let mut number = 0;
    while !guest.console_text().contains(&rest) {
        if Instant::now() > deadline {
            bail!(
                "{KILLS} kills did not fall; the console's end:\n{}",
                guest.console_tail()
            );
        }
        number += 1;
        let text = flip_unit(number);
        if fixture::try_apply(guest, &[("flip", text.as_bytes())])?
            .status
            .success()
        {
            acknowledged = number;
            std::thread::sleep(Duration::from_millis(100));
        } else {
            // Not acknowledged: it may or may not be there; only the next one counts.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let text = flip_unit(number + 1);
    fixture::apply_patiently(guest, &[("flip", &text)])?;
    ensure!(acknowledged > 0, "no apply got through between the kills");
    Ok(number + 1)
}

/// Stops a writer and accounts for each of its lines and codes.
fn stop_and_check(guest: &Guest, name: &str) -> Result<()> {
    guest.operator().run(&["stop", name])?;
    let unit = fixture::wait_state(guest, name, UnitState::Stopped)?;
    ensure!(unit.desired == Desired::Stopped, "{unit:?}");
    let log = paths::target().join(format!("e2e/stories/hundred-kills/{name}.log"));
    let output = guest
        .operator()
        .command()
        .args(["logs", name])
        .stdout(std::fs::File::create(&log)?)
        .status()?;
    ensure!(output.success(), "orlop logs {name} ended with {output}");
    check_lines(name, &log)?;
    check_codes(guest, name)
}

/// Every line of every life exactly once and in order; the last life may end early.
fn check_lines(name: &str, log: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log)?;
    let mut next: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut last_life = 0;
    for line in text.lines() {
        let (life, number) =
            parse(line).with_context(|| format!("{name}: a torn line {line:?}"))?;
        let expected = next.entry((life, number % 2)).or_insert(number % 2);
        ensure!(
            number == *expected,
            "{name}: life {life}: line {number}, expected {expected}"
        );
        *expected += 2;
        last_life = last_life.max(life);
    }
    ensure!(last_life > 3, "{name}: only {last_life} lives");
    for life in 0..last_life {
        for parity in 0..2 {
            let seen = next.get(&(life, parity)).copied().unwrap_or(parity);
            ensure!(
                seen == LINES + parity,
                "{name}: life {life} stops before line {seen}"
            );
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<(u64, u64)> {
    let rest = line.get(line.find("life ")? + 5..)?;
    let (life, rest) = rest.split_once(" line ")?;
    let (number, filler) = rest.split_once(' ')?;
    (filler == "x".repeat(35)).then_some(())?;
    Some((life.parse().ok()?, number.parse().ok()?))
}

/// Every life's exit code once and in order.
fn check_codes(guest: &Guest, name: &str) -> Result<()> {
    let codes = fixture::exit_codes(guest, name)?;
    ensure!(codes.len() > 3, "{name}: only {} exits", codes.len());
    // The last exit is the stop's own signal.
    for (life, code) in codes[..codes.len() - 1].iter().enumerate() {
        ensure!(
            *code == Some(i32::try_from(life % 200)?),
            "{name}: life {life} ended with {code:?}"
        );
    }
    Ok(())
}
