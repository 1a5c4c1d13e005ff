//! Invariant I2: the manager is killed again and again, and nothing is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::{Desired, UnitState};
use orlop_qemu::build;
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};

/// Kills that must fall.
const KILLS: u32 = 100;

/// A writer: its name, the lines of one life, and the lines in one of its 200
/// bursts a second.
struct Writer {
    name: &'static str,
    lines: u64,
    burst: u64,
}

/// One that writes over 1 MiB/s, and one that ends all the time.
const WRITERS: [Writer; 2] = [
    Writer {
        name: "torrent",
        lines: 20_000,
        burst: 110,
    },
    Writer {
        name: "mayfly",
        lines: 100,
        burst: 1,
    },
];

fn writer_unit(writer: &Writer) -> String {
    let Writer { name, lines, burst } = writer;
    format!(
        "[container]\nimage = \"localhost/writer:1\"\nvolumes = [\"{name}:/data\"]\n\
         command = [\"/bin/writer\", \"/data/life\", \"{lines}\", \"{burst}\"]\n\
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
pub(crate) fn tormented_binaries() -> Result<PathBuf> {
    fixture::once("chaos-binaries", |place| {
        std::fs::create_dir_all(place)?;
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
        Ok(())
    })
}

/// A host image with the tormentor, the writers and a unit to be changed.
fn tormented_image() -> Result<PathBuf> {
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
        .map(|writer| (writer.name, writer_unit(writer)))
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
    for writer in &WRITERS {
        stop_and_check(&guest, writer)?;
    }
    guest.power_off(PATIENCE)
}

/// Applies one change after another until the tormentor rests; the number of
/// the last change that was acknowledged.
fn flip_until_rest(guest: &Guest) -> Result<u32> {
    let rest = format!("chaos: rests after {KILLS} kills");
    let mut seen = 0;
    let mut progress = Instant::now();
    let mut acknowledged = 0;
    let mut number = 0;
    while !guest.console_text().contains(&rest) {
        let kills = guest.console_text().matches("chaos: kill ").count();
        if kills > seen {
            (seen, progress) = (kills, Instant::now());
        }
        if progress.elapsed() > PATIENCE {
            bail!(
                "no kill after the {seen}th; the console's end:\n{}",
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
fn stop_and_check(guest: &Guest, writer: &Writer) -> Result<()> {
    let name = writer.name;
    guest.operator().run(&["stop", name])?;
    let unit = fixture::wait_state(guest, name, UnitState::Stopped)?;
    ensure!(unit.desired == Desired::Stopped, "{unit:?}");
    // As the container wrote them: standard output and standard error apart.
    let mut text = String::new();
    let logs = guest.operator().run_apart(&["logs", name])?;
    for stream in [logs.stdout, logs.stderr] {
        text.push_str(&String::from_utf8(stream)?);
    }
    check_lines(writer, &text)?;
    check_codes(guest, name)
}

/// Every line of every life exactly once and in order; the last life may end early.
fn check_lines(writer: &Writer, text: &str) -> Result<()> {
    let Writer { name, lines, .. } = writer;
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
    // How many lives fit between the kills is the machine's business.
    ensure!(last_life > 0, "{name}: not one whole life");
    for life in 0..last_life {
        for parity in 0..2 {
            let seen = next.get(&(life, parity)).copied().unwrap_or(parity);
            ensure!(
                seen == lines + parity,
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
    ensure!(codes.len() > 1, "{name}: only {} exits", codes.len());
    // The last exit is the stop's own signal.
    for (life, code) in codes[..codes.len() - 1].iter().enumerate() {
        ensure!(
            *code == Some(i32::try_from(life % 200)?),
            "{name}: life {life} ended with {code:?}"
        );
    }
    Ok(())
}
