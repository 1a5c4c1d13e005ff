//! `cargo vm test`: every check there is, in the order that fails soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{build, debian, paths};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only the end-to-end tests whose name contains this
    filter: Option<String>,
}

/// A step's name and cargo's arguments for it.
type Step = (&'static str, &'static [&'static str]);

const STEPS: &[Step] = &[
    ("format", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    (
        "unit, property and tidy tests",
        &["test", "--workspace", "--exclude", "orlop-tests"],
    ),
    (
        "tidy",
        &["test", "--package", "orlop-tests", "--test", "tidy"],
    ),
];

pub(super) fn run(options: &Options) -> Result<()> {
    debian::ensure(debian::FOR_UP)?;
    debian::ensure(debian::FOR_TESTS)?;
    if options.filter.is_none() {
        for (name, arguments) in STEPS {
            step(name, || build::run(cargo().args(*arguments)))?;
        }
    }
    step("release binaries", build::binaries_for_tests)?;
    let mut end_to_end = cargo();
    end_to_end.args(["test", "--package", "orlop-tests", "--test", "e2e", "--"]);
    if let Some(filter) = &options.filter {
        // A story that is asked for runs, also one that otherwise does not.
        end_to_end.args([filter.as_str(), "--include-ignored"]);
    }
    step("end to end", || build::run(&mut end_to_end))
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::repository());
    cargo
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("== {name}");
    let started = Instant::now();
    work().with_context(|| format!("the step \"{name}\" failed"))?;
    eprintln!(
        "== {name}: done in {:.0} s",
        started.elapsed().as_secs_f32()
    );
    Ok(())
}
