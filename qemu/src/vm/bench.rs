//! `cargo vm bench`: what the host costs, measured and printed as a table and
//! as JSON.
//!
//! Every figure is of this machine at this moment; compare only what one run
//! measured side by side.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use orlop_control::types::HostStatus;
use serde::Serialize;

use super::files;
use super::up;
use crate::accel::Accel;
use crate::guest::Guest;
use crate::machine::{self, Config, Firmware, Forward, Machine};
use crate::{build, debian, http, paths};

#[derive(clap::Args)]
pub(super) struct Options {
    /// How many boots of each kind; the table shows medians
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// The machine and the conditions, then one row a figure.
#[derive(Serialize)]
struct Report {
    conditions: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    what: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    runs: usize,
}

impl Row {
    fn new(what: impl Into<String>, unit: &'static str, mut values: Vec<f64>) -> Result<Row> {
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            bail!("nothing was measured");
        };
        Ok(Row {
            what: what.into(),
            unit,
            median: values[values.len() / 2],
            least: *least,
            most: *most,
            runs: values.len(),
        })
    }
}

/// How long one boot may take.
const LIMIT: Duration = Duration::from_secs(240);

pub(super) fn run(options: &Options) -> Result<()> {
    debian::ensure(debian::FOR_UP)?;
    let image = up::build_image(None)?;
    let folder = paths::vm().join("bench");
    std::fs::create_dir_all(&folder)?;
    let disk = folder.join("disk.img");
    machine::copy_disk(&image, &disk)?;
    machine::grow_disk(&disk, up::DISK_BYTES)?;

    let base = Config::new(&disk, &folder);
    let status = first_boot(base.clone(), &image)?;
    let mut rows = Vec::new();
    for (name, firmware) in [
        ("direct", Firmware::Direct(up::boot_files(&image))),
        ("OVMF", Firmware::Uefi),
    ] {
        let mut times = Vec::new();
        for _ in 0..options.runs.max(1) {
            times.push(to_first_answer(&base, &firmware)?);
        }
        rows.push(Row::new(
            format!("power-on to first HTTP 200, {name}"),
            "s",
            times,
        )?);
    }
    rows.extend(boot_rows(&status)?);
    rows.extend(size_rows(&image)?);
    rows.push(rebuild_row()?);
    print(&Report {
        conditions: conditions(&status),
        rows,
    })
}

/// The first boot grows the state partition; it is not timed. Once it has
/// settled, it tells how long its phases took and what memory is in use.
fn first_boot(mut config: Config, image: &Path) -> Result<HostStatus> {
    config.firmware = Firmware::Direct(up::boot_files(image));
    let mut guest = Guest::boot(config, &files::operator())?;
    guest.trust(LIMIT)?;
    guest.wait_units("healthy units", LIMIT, up::all_healthy)?;
    std::thread::sleep(Duration::from_secs(20));
    let status = guest.operator().status()?;
    guest.power_off(LIMIT)?;
    Ok(status)
}

fn to_first_answer(base: &Config, firmware: &Firmware) -> Result<f64> {
    let mut config = base.clone();
    config.firmware = firmware.clone();
    config.accel = Accel::Tcg;
    config.snapshot = true;
    let port = machine::free_port(None)?;
    config.forwards = vec![Forward {
        host: port,
        guest: 80,
    }];
    let started = Instant::now();
    let machine = Machine::start(config)?;
    while !http::get(port, "/").is_ok_and(|(status, _)| status == 200) {
        if started.elapsed() > LIMIT {
            bail!(
                "no answer within {} s; the console's end:\n{}",
                LIMIT.as_secs(),
                machine.console().tail(30)
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Phases of the boot and memory, as the host itself reports them.
fn boot_rows(status: &HostStatus) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for phase in &status.boot_phases {
        rows.push(Row::new(
            format!("boot: {}", phase.name),
            "ms",
            vec![as_f64(phase.ms)],
        )?);
    }
    let used = status.memory_total.saturating_sub(status.memory_available);
    rows.push(Row::new(
        "memory in use when idle",
        "MiB",
        vec![mebibytes(used)],
    )?);
    Ok(rows)
}

fn size_rows(image: &Path) -> Result<Vec<Row>> {
    let files = up::boot_files(image);
    let mut rows = Vec::new();
    for (what, path) in [
        ("kernel", files.join("vmlinuz")),
        ("initramfs", files.join("initrd.img")),
    ] {
        let length = std::fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .len();
        rows.push(Row::new(
            format!("size: {what}"),
            "MiB",
            vec![mebibytes(length)],
        )?);
    }
    let disk = std::fs::metadata(image)?;
    let on_disk = std::os::unix::fs::MetadataExt::blocks(&disk) * 512;
    rows.push(Row::new(
        "size: disk image",
        "MiB",
        vec![mebibytes(disk.len())],
    )?);
    rows.push(Row::new(
        "size: disk image, blocks in use",
        "MiB",
        vec![mebibytes(on_disk)],
    )?);
    Ok(rows)
}

/// How long the image takes to build again after a unit file changed.
fn rebuild_row() -> Result<Row> {
    let place = paths::vm().join("bench/rebuild");
    let output = place.join("disk.img");
    let configs = paths::repository().join("configs");
    let mut times = Vec::new();
    for run in 0..4 {
        build::run(
            std::process::Command::new("mkdir")
                .arg("-p")
                .arg(place.join("units")),
        )?;
        let host = std::fs::read_to_string(configs.join("demo.toml"))?
            .replace("../target", &paths::target().display().to_string());
        std::fs::write(place.join("demo.toml"), host)?;
        let unit = std::fs::read_to_string(configs.join("units/web.toml"))?;
        std::fs::write(
            place.join("units/web.toml"),
            format!("# change {run}\n{unit}"),
        )?;
        let started = Instant::now();
        build::disk(&place.join("demo.toml"), &output)?;
        // The first run fills the cache.
        if run > 0 {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    Row::new("image rebuild after a changed unit", "s", times)
}

fn conditions(status: &HostStatus) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "TCG, 2 guest CPUs on {cpus} host CPUs, 1 GiB; guest kernel {}; medians",
        status.kernel
    )
}

fn print(report: &Report) -> Result<()> {
    println!("{}\n", report.conditions);
    for row in &report.rows {
        println!(
            "{:<44} {:>10.2} {:<4} ({:.2} to {:.2}, n={})",
            row.what, row.median, row.unit, row.least, row.most, row.runs
        );
    }
    let file = paths::vm().join("bench.json");
    std::fs::write(&file, serde_json::to_vec_pretty(report)?)?;
    println!("\nAs JSON: {}", file.display());
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    as_f64(bytes) / 1_048_576.0
}

/// Sizes and milliseconds here stay far below 2^53.
fn as_f64(number: u64) -> f64 {
    number as f64
}
