//! `orlop update`.

mod follow;
mod goal;
mod shown;
mod text;
mod wait;

use std::future::Future;
use std::path::PathBuf;

use jiff::Timestamp;

use super::failure::{Failure, Outcome};
use super::output::{Format, show};
use crate::client::Client;
use crate::types::{HostStatus, UpdatePhase, UpdateQuery, UpdateRequest, UpdateStatus};
use shown::Shown;

pub(super) use goal::{Goal, named};
pub(super) use wait::{HOST_DECIDES, wait};

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// A bundle on this machine, or a URL that the host is to fetch one from; without either, it looks
    /// for a newer version at its `[update] url`
    #[arg(value_name = "FILE|URL")]
    source: Option<String>,
    /// Take an older version, or the same one, too
    #[arg(long)]
    allow_downgrade: bool,
    /// Leave the host running; the version starts at its next boot
    #[arg(long)]
    no_reboot: bool,
    /// Only say what would be moved
    #[arg(long)]
    dry_run: bool,
    /// Return when the host reboots, not when the version is kept
    #[arg(long)]
    no_wait: bool,
    /// Say how the last update is, and where the host looks for new versions
    #[arg(long, conflicts_with_all = HOW)]
    status: bool,
    /// Give up the update that is under way, or that waits for a reboot
    #[arg(long, conflicts_with_all = HOW, conflicts_with = "status")]
    cancel: bool,
}

/// What does not go with asking for a status, or with giving up.
const HOW: [&str; 5] = [
    "source",
    "allow_downgrade",
    "no_reboot",
    "dry_run",
    "no_wait",
];

const AFTER_HELP: &str = "\
Of a FILE only what the host lacks is sent. The host reboots into the version and runs it on trial; the \
exit code is 0 once it is kept, 1 when the host went back to the one before. What was interrupted goes \
on with the same command.";

/// What an interrupted upload comes to.
const UPLOAD_STAYS: &str = "the host keeps what it was sent: the same command goes on from there, \
    `orlop update --cancel` gives it up";
/// What an interrupted look at a host that fetches comes to.
const HOST_FETCHES: &str = "the host goes on by itself: `orlop update --status` says how far it is, \
    `orlop update --cancel` gives it up";

/// Where the bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// On this machine.
    File(PathBuf),
    /// Where the host fetches it; none: from its own channel.
    Host(Option<String>),
}

impl Source {
    fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Self::Host(None));
        };
        match text.split_once("://") {
            Some(("http" | "https", _)) => Ok(Self::Host(Some(text.to_owned()))),
            Some((scheme, _)) => Err(Failure::new(format!(
                "cannot update from {text}: expected a file, or http:// or https://, not {scheme}://"
            ))
            .code(2)),
            None => Ok(Self::File(text.into())),
        }
    }
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    if args.status {
        let status = client.update_status().await?;
        return show(format, &status, |status| {
            text::status(status, Timestamp::now())
        });
    }
    if args.cancel {
        return show(format, &client.cancel_update().await?, text::cancelled);
    }
    let source = Source::parse(args.source.as_deref())?;
    let before = client.status().await?;
    let mut shown = Shown::new()?;
    let update = begin_and_follow(client, args, &source, &before, &mut shown);
    let update = match &source {
        _ if args.dry_run => unless_interrupted(update, "nothing was changed").await,
        Source::File(_) => unless_interrupted(update, UPLOAD_STAYS).await,
        Source::Host(_) => unless_interrupted(update, HOST_FETCHES).await,
    };
    shown.clear();
    let update = update?;
    if args.dry_run {
        text::planned(&update)?;
        return show(format, &update, |update| text::plan(update, &before));
    }
    match (update.phase, update.version.clone()) {
        (UpdatePhase::Rebooting, Some(version)) if !args.no_wait => {
            let goal = Goal::update(version, before);
            let kept = unless_interrupted(wait(client, &goal), HOST_DECIDES).await?;
            show(format, &kept, |kept| format!("{} is kept\n", named(kept)))
        }
        _ => show(format, &update, text::ended),
    }
}

/// Begins the update, and gives how it ended on this boot of the host.
async fn begin_and_follow(
    client: &Client,
    args: &Args,
    source: &Source,
    before: &HostStatus,
    shown: &mut Shown,
) -> Result<UpdateStatus, Failure> {
    let how = UpdateQuery {
        allow_downgrade: args.allow_downgrade,
        no_reboot: args.no_reboot,
        dry_run: args.dry_run,
    };
    shown.busy(match args.dry_run {
        true => "the host looks for what is there",
        false => "the host looks at the bundle's head",
    });
    let status = match source {
        Source::File(path) => {
            let sent = client.send_bundle(path, how, |progress| shown.progress(progress));
            sent.await?
        }
        Source::Host(url) => {
            let request = UpdateRequest { url: url.clone() };
            client.begin_update(&request, how).await?
        }
    };
    // Its channel may have nothing newer.
    if args.dry_run || status.phase == UpdatePhase::Idle {
        return Ok(status);
    }
    follow::follow(client, before, status, shown).await
}

/// Does `work`, unless Ctrl-C comes first; `then` says how things stand.
pub(super) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
    then: &str,
) -> Result<T, Failure> {
    tokio::select! {
        outcome = work => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::new("interrupted").help(then).code(130)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_file_unless_it_is_a_url() {
        let file = |path: &str| Some(Source::File(path.into()));
        let host = |url: &str| Some(Source::Host(Some(url.to_owned())));
        for (text, source) in [
            (Some("demo-2.0.orlop"), file("demo-2.0.orlop")),
            (Some("/tmp/http:/x"), file("/tmp/http:/x")),
            (Some("http://a/demo"), host("http://a/demo")),
            (Some("https://a/x.orlop"), host("https://a/x.orlop")),
            (Some("ftp://a/x.orlop"), None),
            (None, Some(Source::Host(None))),
        ] {
            assert_eq!(Source::parse(text).ok(), source, "{text:?}");
        }
    }
}
