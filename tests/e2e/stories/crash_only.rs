//! Invariant I2: the manager is killed again and again, and nothing is lost.

mod ledger;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use orlop_control::types::{LastExit, UnitState};
use orlop_qemu::build;
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};
use ledger::{Life, Torment};

/// Kills that must fall, as many of each kind. Those that come too late for
/// what they were to meet are not among them.
const KILLS: usize = 100;
/// The tormentor's kinds of kills: any time, close to a create, an apply or an
/// exit, and so that a container ends while there is no manager.
const KINDS: [&str; 5] = ["Any", "Create", "Apply", "Exit", "Gap"];
/// Those that are close.
const NEAR: [&str; 3] = ["Create", "Apply", "Exit"];
/// How close, in microseconds.
const NEAR_US: u64 = 5_000;

/// A writer: each of its lives writes so many lines of so many bytes, a burst
/// at a time with so many milliseconds between.
struct Writer {
    name: &'static str,
    lines: u64,
    width: usize,
    burst: u64,
    pause: u64,
}

/// One that writes as fast as it is read, and one that ends all the time.
const WRITERS: [Writer; 2] = [
    Writer {
        name: "torrent",
        lines: 2048,
        width: 1024,
        burst: 64,
        pause: 0,
    },
    Writer {
        name: "mayfly",
        lines: 100,
        width: 64,
        burst: 1,
        pause: 5,
    },
];

/// What the fast writer must reach, in bytes a second.
const FAST: u64 = 1 << 20;

/// A stop has no effect on a writer: the kernel drops SIGTERM for the first
/// process of a namespace that does not handle it. So it ends by itself, and
/// each life is whole.
fn writer_unit(writer: &Writer) -> String {
    let Writer {
        name,
        lines,
        width,
        burst,
        pause,
    } = writer;
    format!(
        "[container]\nimage = \"localhost/writer:1\"\nvolumes = [\"{name}:/data\"]\n\
         command = [\"/bin/writer\", \"/data\", \"{lines}\", \"{width}\", \"{burst}\", \"{pause}\"]\n\
         [restart]\npolicy = \"always\"\nbackoff-min = \"100ms\"\nbackoff-max = \"200ms\"\n\
         [stop]\nsignal = \"SIGTERM\"\ntimeout = \"10m\"\n[logs]\nmax-size = \"2G\"\n"
    )
}

/// A unit whose definition changes with each apply.
fn flip_unit(number: u32) -> String {
    format!(
        "[unit]\ndescription = \"flip {number}\"\n[container]\nimage = \"localhost/busybox:1\"\n\
         environment = {{ FLIP = \"{number}\" }}\n[stop]\nsignal = \"SIGKILL\"\n"
    )
}

/// Programs with the tormentor in the manager's place.
pub(crate) fn tormented_binaries() -> Result<PathBuf> {
    fixture::once("chaos-binaries", |place| {
        std::fs::create_dir_all(place)?;
        for name in ["orlop-init", "orlop-runtime", "orlop-loader"] {
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
    let applied = flip_until_rest(&guest)?;
    guest.wait_units(
        "the last change that was acknowledged, or one after it",
        PATIENCE,
        |units| {
            units.iter().any(|unit| {
                let number = unit.description.strip_prefix("flip ");
                let number = number.and_then(|number| number.parse().ok());
                number.is_some_and(|number: u32| number >= applied)
                    && unit.state == UnitState::Running
            })
        },
    )?;
    let torment = Torment::read(&guest.console_text())?;
    check_kills(&torment)?;
    let mut unattended = 0;
    for writer in &WRITERS {
        let exits = stop_and_account(&guest, writer)
            .with_context(|| format!("what {} wrote", writer.name))?;
        unattended += exits
            .iter()
            .filter(|exit| exit.code.is_some())
            .map(|exit| exit.at.as_millisecond())
            .filter(|at| torment.gaps.iter().any(|(from, to)| from < at && at < to))
            .count();
    }
    println!("{unattended} lives ended while there was no manager");
    // Each kill of that kind ends a writer, which the next manager may be too
    // quick for.
    ensure!(
        unattended >= KILLS / KINDS.len() / 2,
        "only {unattended} containers ended while there was no manager"
    );
    guest.power_off(PATIENCE)
}

/// As many kills of each kind, and the near ones near.
fn check_kills(torment: &Torment) -> Result<()> {
    for kind in KINDS {
        let fell = torment.kills.get(kind).map_or(&[][..], Vec::as_slice);
        ensure!(
            fell.len() == KILLS / KINDS.len(),
            "kills at {kind}: {torment:?}"
        );
        let near = fell.iter().filter(|late_us| **late_us <= NEAR_US).count();
        println!(
            "{kind}: {near} of {} kills within {NEAR_US} µs, at the median {}",
            fell.len(),
            fell[fell.len() / 2]
        );
        ensure!(
            !NEAR.contains(&kind) || near == fell.len(),
            "kills at {kind} are late: {torment:?}"
        );
    }
    Ok(())
}

/// Applies one change after another until the tormentor rests; the number of
/// the last change that was acknowledged.
fn flip_until_rest(guest: &Guest) -> Result<u32> {
    let mut seen = 0;
    let mut progress = Instant::now();
    let mut acknowledged = 0;
    let mut number = 0;
    while !guest.console_text().contains("chaos: rests after ") {
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
        // One that is not acknowledged may be there or not.
        if fixture::try_apply(guest, &[("flip", text.as_bytes())])?
            .status
            .success()
        {
            acknowledged = number;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(acknowledged > 0, "no apply got through between the kills");
    Ok(acknowledged)
}

/// Stops a writer and accounts for each of its lines and codes.
fn stop_and_account(guest: &Guest, writer: &Writer) -> Result<Vec<LastExit>> {
    let name = writer.name;
    guest.operator().run(&["stop", name])?;
    fixture::wait_state(guest, name, UnitState::Stopped)?;
    // As the container wrote them: standard output and standard error apart.
    let logs = guest.operator().run_apart(&["logs", name])?;
    let lives = ledger::lives(writer, std::str::from_utf8(&logs.stdout)?, 0)?;
    let others = ledger::lives(writer, std::str::from_utf8(&logs.stderr)?, 1)?;
    let lines = |lives: &[Life]| lives.iter().map(|life| life.lines).collect::<Vec<_>>();
    ensure!(
        lines(&lives) == lines(&others),
        "{lives:?} on standard output, {others:?} on standard error"
    );
    let exits: Vec<LastExit> =
        serde_json::from_str(&fixture::curl(guest, &format!("/v1/units/{name}/exits"))?)?;
    // A container whose start failed is killed before its image runs: its end
    // is on record as a signal. A life that was killed would lack its end.
    let codes: Vec<i32> = exits.iter().filter_map(|exit| exit.code).collect();
    let expected = (0..lives.len()).map(|life| i32::try_from(life % 200));
    let expected: Vec<i32> = expected.collect::<std::result::Result<_, _>>()?;
    ensure!(codes == expected, "{} lives, codes {codes:?}", lives.len());
    check_rate(writer, &lives)?;
    Ok(exits)
}

/// The fast writer must have been fast. A life that met a kill waited for the
/// next manager, so the fastest one tells how fast it is while one works.
fn check_rate(writer: &Writer, lives: &[Life]) -> Result<()> {
    let mut rates: Vec<u64> = lives
        .iter()
        .map(|life| life.lines * writer.width as u64 * 1_000_000 / life.took_us.max(1))
        .collect();
    rates.sort_unstable();
    let fastest = rates.last().copied().unwrap_or(0);
    let median = rates.get(rates.len() / 2).copied().unwrap_or(0);
    let lines: u64 = lives.iter().map(|life| life.lines).sum();
    println!(
        "{}: {} lives, {lines} lines of {} bytes; KiB/s at the median life {}, at the fastest {}",
        writer.name,
        lives.len(),
        writer.width,
        median >> 10,
        fastest >> 10
    );
    let paced = writer.pause > 0;
    ensure!(paced || fastest > FAST, "only {fastest} bytes a second");
    Ok(())
}
