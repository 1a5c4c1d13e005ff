//! `cargo vm crash`: the proof that power may go at any write of an update, for
//! longer than `cargo vm test` runs it.

use anyhow::{Result, ensure};

use super::test::end_to_end;
use crate::build;
use crate::debian;

/// The end-to-end test that does it.
const STORY: &str = "power_may_go_at_any_write_of_an_update";

#[derive(clap::Args)]
pub(super) struct Options {
    /// Disks beyond the prefixes of what was written
    #[arg(long, default_value_t = 100_000)]
    states: usize,
    /// How many of the disks are booted
    #[arg(long, default_value_t = 200)]
    boots: usize,
    /// Another seed gives other disks
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(options: &Options) -> Result<()> {
    ensure!(options.states > 0, "--states 0 proves nothing");
    debian::ensure(debian::FOR_UP)?;
    debian::ensure(debian::FOR_TESTS)?;
    build::binaries_for_tests()?;
    let mut story = end_to_end();
    story.args(["--exact", "--nocapture", STORY]);
    story.env("ORLOP_CRASH_STATES", options.states.to_string());
    story.env("ORLOP_CRASH_BOOTS", options.boots.to_string());
    story.env("ORLOP_CRASH_SEED", options.seed.to_string());
    build::run(&mut story)
}
