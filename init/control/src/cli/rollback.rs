//! `orlop rollback`.

use super::failure::Outcome;
use super::output::{Format, print, show};
use super::update::{Goal, HOST_DECIDES, named, unless_interrupted, wait};
use crate::client::Client;

#[derive(Debug, clap::Args)]
#[command(after_help = "The host reboots. The exit code is 0 once the version runs.")]
pub(super) struct Args {
    /// Return when the host reboots, not when the version runs
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    let before = client.status().await?;
    let target = client.rollback().await?;
    let going = format!("{} goes back to {}\n", client.endpoint(), named(&target));
    if args.no_wait {
        return show(format, &target, |_| going);
    }
    if format == Format::Table {
        print(&going)?;
    }
    let goal = Goal::rollback(&target, before);
    let back = unless_interrupted(wait(client, &goal), HOST_DECIDES).await?;
    show(format, &back, |back| {
        format!("{} runs again\n", named(back))
    })
}
