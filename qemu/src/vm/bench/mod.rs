//! `cargo vm bench`: what the host costs, measured and printed as a table.
//!
//! Every figure is of this machine at this moment: compare only what one run
//! measured side by side. So boots of each kind take turns, and another host's
//! boots, which `--beside-direct` and `--beside-ovmf` tell how to time, take
//! theirs among them.
//!
//! `cargo vm bench update` measures updates instead, `cargo vm bench runtime` the runtime.

mod beside;
mod boots;
mod conditions;
mod image;
mod output;
mod report;
mod runtime;
mod update;

use anyhow::Result;

use self::beside::Beside;
use self::boots::Boots;
use self::conditions::Conditions;
use self::output::Output;
use self::report::{Report, Row};
use super::up;
use crate::debian;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    of: Option<Of>,
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
    #[command(flatten)]
    output: Output,
}

/// What is measured instead.
#[derive(clap::Subcommand)]
enum Of {
    /// Measure updates: bytes moved, time, write rate, downtime, memory
    Update(update::Options),
    /// Measure the runtime beside Debian's crun and runc: time, memory, system calls
    Runtime(runtime::Options),
}

pub(super) fn run(options: &Options) -> Result<()> {
    match &options.of {
        Some(Of::Update(options)) => return update::run(options),
        Some(Of::Runtime(options)) => return runtime::run(options),
        None => {}
    }
    debian::ensure(debian::FOR_UP)?;
    let disk = up::build_image(None)?;
    let mut conditions = Conditions::now()?;
    for line in conditions.machine.warnings() {
        eprintln!("{line}");
    }
    let mut rows = boots(options, Boots::prepare(&disk)?, &mut conditions)?;
    rows.extend(image::rows()?);
    conditions.machine.at_end()?;
    let report = Report { conditions, rows };
    options.output.give(&report, "bench.json")
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
