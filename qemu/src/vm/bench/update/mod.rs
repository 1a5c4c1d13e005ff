//! `cargo vm bench update`: what an update moves, how long it and its reboot take, how
//! fast it writes, and what memory it needs.
//!
//! Hosts boot through OVMF, as real ones do. Each turn is a fresh copy of one disk that
//! runs the old version and whose other slot is empty; turns of each kind take turns.
//! Memory is looked at in turns of its own, as that costs the host some time.

mod releases;
mod rows;
mod stages;
mod turn;
mod watched;
mod web;

use anyhow::Result;

use self::releases::Releases;
use self::rows::Looked;
use self::stages::Stage;
use self::turn::Start;
use super::conditions::Conditions;
use super::output::Output;
use super::report::{Report, Row};
use crate::debian;
use crate::vm::up;

#[derive(clap::Args)]
pub(super) struct Options {
    /// How many updates of each kind; the table shows medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<()> {
    debian::ensure(debian::FOR_UP)?;
    up::build_image(None)?;
    let releases = Releases::build()?;
    let mut conditions = Conditions::now()?;
    for line in conditions.machine.warnings() {
        eprintln!("{line}");
    }
    let rows = measure(options, &releases, &mut conditions)?;
    conditions.machine.at_end()?;
    let report = Report { conditions, rows };
    options.output.give(&report, "bench-update.json")
}

fn measure(
    options: &Options,
    releases: &Releases,
    conditions: &mut Conditions,
) -> Result<Vec<Row>> {
    let start = Start::prepare(&releases.old)?;
    let mut kinds = rows::kinds(releases);
    for number in 1..=options.runs.max(1) {
        for kind in &mut kinds {
            let name = format!("{number}-{}", kind.what.replace(' ', "-"));
            let turn = start.turn(kind.new, &name)?;
            eprintln!(
                "turn {number}, {}: {:.1} s, down for {:.1} s, plainly for {:.1} s; the console: {}",
                kind.what,
                turn.course.until(Stage::Installed)?,
                turn.down,
                turn.plain,
                turn.console.display(),
            );
            conditions.guest_kernel(&turn.guest_kernel);
            kind.turns.push(turn);
        }
    }
    let mut looked = Vec::new();
    for (what, new, way) in rows::to_look_at(releases) {
        let course = start.memory(new, way)?;
        eprintln!(
            "memory, {what}, {way}: {:.1} s",
            course.until(Stage::Installed)?
        );
        looked.push(Looked {
            what,
            new,
            way,
            course,
        });
    }
    rows::all(&kinds, &looked)
}
