//! `cargo vm faults`: the stories of the fault matrix in their full forms, in which
//! the host itself installs what is bad, and every try is used up.

use anyhow::Result;

use super::test::end_to_end;
use crate::build;
use crate::debian;

/// What the names of these end-to-end tests begin with.
const STORIES: &str = "fault_";

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only those whose name begins with `fault_` and this
    #[arg(default_value = "")]
    filter: String,
}

pub(super) fn run(options: &Options) -> Result<()> {
    debian::ensure(debian::FOR_UP)?;
    debian::ensure(debian::FOR_TESTS)?;
    build::binaries_for_tests()?;
    let mut stories = end_to_end();
    stories.arg(format!("{STORIES}{}", options.filter));
    stories.env("ORLOP_FAULTS", "full");
    build::run(&mut stories)
}
