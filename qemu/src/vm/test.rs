//! `cargo vm test`: every check there is, in the order that fails soonest.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::trial;
use crate::build::{self, cargo};
use crate::debian;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only the end-to-end tests whose name contains this
    filter: Option<String>,
}

/// Packages with tests that only root can run: namespaces, mounts, containers.
const FOR_ROOT: &[&str] = &[
    "orlop-sys",
    "orlop-images",
    "orlop-runtime",
    "orlop-manager",
];

/// With this in its environment a test that lacks rights or a command fails,
/// where it would otherwise say so and pass.
const COMPLETE: [&str; 2] = ["ORLOP_TESTS_COMPLETE", "1"];

pub(super) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    debian::ensure(debian::FOR_UP)?;
    debian::ensure(debian::FOR_TESTS)?;
    if options.filter.is_none() {
        sources()?;
    }
    step("release binaries", build::binaries_for_tests)?;
    let wanted = |name: &str| {
        options
            .filter
            .as_ref()
            .is_none_or(|part| name.contains(part))
    };
    if wanted(trial::NAME) {
        step(trial::NAME, trial::run)?;
    }
    if let Some(filter) = &options.filter
        && number_of_stories(options)? == 0
    {
        ensure!(wanted(trial::NAME), "no test's name contains {filter:?}");
        return Ok(());
    }
    step("end to end", || build::run(&mut stories(options)))?;
    eprintln!("== all: done in {:.0} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// The end-to-end tests that `options` name.
fn stories(options: &Options) -> Command {
    let mut tests = end_to_end();
    tests.args(&options.filter);
    tests
}

/// The end-to-end tests; what is added are words for their runner.
pub(super) fn end_to_end() -> Command {
    let mut tests = cargo();
    tests.args(["test", "--package", "orlop-tests", "--test", "e2e", "--"]);
    tests
}

/// How many those are.
fn number_of_stories(options: &Options) -> Result<usize> {
    let output = stories(options)
        .arg("--list")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "the list of tests: {}",
        output.status
    );
    let list = String::from_utf8(output.stdout)?;
    Ok(list.lines().filter(|line| line.ends_with(": test")).count())
}

/// Every check that needs no image.
fn sources() -> Result<()> {
    step("format", || {
        build::run(cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("clippy", || {
        let options = ["--workspace", "--all-targets", "--", "-D", "warnings"];
        build::run(cargo().arg("clippy").args(options))
    })?;
    step("tidy", || {
        build::run(cargo().args(["test", "--package", "orlop-tests", "--test", "tidy"]))
    })?;
    step("unit and property tests", || {
        let mut tests = cargo();
        tests.env(COMPLETE[0], COMPLETE[1]);
        tests.args(["test", "--workspace", "--exclude", "orlop-tests"]);
        for package in FOR_ROOT {
            tests.args(["--exclude", package]);
        }
        build::run(&mut tests)
    })?;
    step("tests for root", tests_for_root)
}

/// Cargo runs as whoever calls; only the tests themselves go through sudo.
fn tests_for_root() -> Result<()> {
    let mut tests = cargo();
    tests.arg("test");
    for package in FOR_ROOT {
        tests.args(["--package", package]);
    }
    match debian::as_root() {
        Some(prefix) => {
            let complete = COMPLETE.join("=");
            let runner = [prefix, &["env", &complete]].concat().join(" ");
            tests.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
        }
        None => eprintln!(
            "neither root nor sudo: tests that need root say so and are skipped \
             (to see them, add `-- --nocapture` to `cargo test`)"
        ),
    }
    build::run(&mut tests)
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
