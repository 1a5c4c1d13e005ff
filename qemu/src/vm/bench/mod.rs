//! `cargo vm bench`: what the host costs, measured and printed as a table.
//!
//! Every figure is of this machine at this moment: compare only what one run
//! measured side by side. So boots of each kind take turns, and another host's
//! boots, which `--beside-direct` and `--beside-ovmf` tell how to time, take
//! theirs among them.

mod beside;
mod boots;
mod conditions;
mod image;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::beside::Beside;
use self::boots::Boots;
use self::conditions::Conditions;
use self::report::{Report, Row};
use super::up;
use crate::{debian, paths};

#[derive(clap::Args)]
pub(super) struct Options {
    /// How many boots of each kind; the table shows medians
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A shell command that boots another host without firmware and prints the
    /// seconds that its first HTTP 200 took, and nothing else
    #[arg(long, value_name = "COMMAND")]
    beside_direct: Option<String>,
    /// The same through OVMF
    #[arg(long, value_name = "COMMAND")]
    beside_ovmf: Option<String>,
    /// What the table calls that other host
    #[arg(long, value_name = "NAME", default_value = "the other host")]
    beside_name: String,
    /// Write the table in Markdown, too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the figures go as JSON, `-` being standard output [default:
    /// bench.json in target/vm]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    debian::ensure(debian::FOR_UP)?;
    let disk = up::build_image(None)?;
    let mut conditions = Conditions::now()?;
    for line in conditions.warnings() {
        eprintln!("{line}");
    }
    let mut rows = boots(options, Boots::prepare(&disk)?, &mut conditions)?;
    rows.extend(image::rows()?);
    conditions.at_end()?;
    let report = Report { conditions, rows };
    println!("\n{}", report.table());
    let json = serde_json::to_string_pretty(&report)?;
    match &options.json {
        Some(file) if file.as_os_str() == "-" => println!("{json}"),
        Some(file) => write(file, &json)?,
        None => {
            let file = paths::vm().join("bench.json");
            write(&file, &json)?;
            println!("As JSON: {}", file.display());
        }
    }
    if let Some(file) = &options.markdown {
        write(file, &report.markdown())?;
        println!("As Markdown: {}", file.display());
    }
    Ok(())
}

/// All that needs a booted guest, turn by turn. The first turn is not counted:
/// it warms this machine's caches, and its guest is left idle to be looked at.
fn boots(options: &Options, boots: Boots, conditions: &mut Conditions) -> Result<Vec<Row>> {
    let beside = |command: &Option<String>| command.clone().map(Beside::new);
    let others = [beside(&options.beside_direct), beside(&options.beside_ovmf)];
    let kinds = boots.kinds();
    let mut own = [Vec::new(), Vec::new()];
    let mut other = [Vec::new(), Vec::new()];
    let mut stages = boots::Stages::default();
    let idle = boots.idle(conditions)?;
    for turn in 0..=options.runs.max(1) {
        for (index, kind) in kinds.iter().enumerate() {
            let (seconds, seen) = boots.to_first_answer(kind)?;
            eprintln!("turn {turn}, {}: {seconds:.2} s", kind.name);
            let theirs = match &others[index] {
                Some(command) => Some(command.seconds()?),
                None => None,
            };
            if let Some(seconds) = theirs {
                let name = &options.beside_name;
                eprintln!("turn {turn}, {}, {name}: {seconds:.2} s", kind.name);
            }
            if turn > 0 {
                own[index].push(seconds);
                other[index].extend(theirs);
                stages.add(kind, &seen)?;
            }
        }
    }
    let mut rows = Vec::new();
    for ((kind, own), other) in kinds.iter().zip(own).zip(other) {
        let what = format!("power-on to first HTTP 200, {}", kind.name);
        let own = Row::new(what, "s", own)?;
        if other.is_empty() {
            rows.push(own);
            continue;
        }
        let other = Row::new(format!("the same of {}", options.beside_name), "s", other)?;
        let share = own.over(&other, kind.aim);
        rows.extend([own, other, share]);
    }
    rows.extend(stages.rows()?);
    rows.extend(idle);
    Ok(rows)
}

fn write(file: &std::path::Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
