//! `orlop load`.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::{Failure, Outcome};
use super::images;
use super::output::{Format, show};
use crate::client::{Client, UploadProgress};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An OCI archive (a tar file)
    file: PathBuf,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    // It draws on a terminal only.
    let bar = ProgressBar::new(0);
    let style = "{msg:10} {wide_bar} {bytes:>10} of {total_bytes:<10} {eta:>4}";
    let style =
        ProgressStyle::with_template(style).map_err(|error| Failure::new(error.to_string()))?;
    bar.set_style(style);
    let loaded = client
        .load(&args.file, |progress| match progress {
            UploadProgress::Reading(done, all) => at(&bar, "reading", done, all),
            UploadProgress::Sending(done, all) => at(&bar, "sending", done, all),
            UploadProgress::Unpacking => bar.set_message("unpacking"),
        })
        .await;
    bar.finish_and_clear();
    show(format, &loaded?, |loaded| images::text(loaded))
}

fn at(bar: &ProgressBar, what: &'static str, done: u64, all: u64) {
    bar.set_message(what);
    bar.set_length(all);
    bar.set_position(done);
}
