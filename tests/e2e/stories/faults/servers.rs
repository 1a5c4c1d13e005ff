//! Web servers that do not give what they should.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UpdatePhase;
use orlop_web::{Manner, Server};

use super::refusals::Host;
use crate::fixture;
use crate::releases::Release;
use crate::stories::updates;

/// Each is told by its cause, while it is waited for and after it was given up.
pub(super) fn are_given_up(host: &Host, good: &Release, server: &Server, url: &str) -> Result<()> {
    without_a_head(host, server, url)?;
    without_chunks(host, server, url)?;
    with_chunks_of_another_version(host, good, server, url)?;
    that_is_gone(host, server, url)
}

/// The head does not come: nothing is begun.
fn without_a_head(host: &Host, server: &Server, url: &str) -> Result<()> {
    let cases = [
        (Manner::Status(404), "answered 404, expected 200"),
        (Manner::Status(500), "answered 500, expected 200"),
        (Manner::Garbled, "no update bundle"),
        (Manner::Short, "cut off within"),
        (Manner::Cuts, "shop.head: "),
        (Manner::Stalls, "timeout"),
    ];
    for (manner, expected) in cases {
        server.choose(move |_, _| manner);
        host.refuses(url, expected)
            .with_context(|| format!("a head: {manner:?}"))?;
        host.is_unharmed()?;
    }
    Ok(())
}

/// The chunks do not come: the host says why it does not get on, and can be told to
/// give it up.
fn without_chunks(host: &Host, server: &Server, url: &str) -> Result<()> {
    let cases = [
        (Manner::Status(500), "answered 500, expected 200"),
        // The length is that of half the file.
        (Manner::Short, "chunk "),
        // The length is that of the file, of which half comes.
        (Manner::Cuts, ".zst: "),
        (Manner::Stalls, "timeout"),
    ];
    for (manner, expected) in cases {
        server.choose(move |number, _| match number {
            0 => Manner::Well,
            _ => manner,
        });
        does_not_get_on(host, url, expected).with_context(|| format!("chunks: {manner:?}"))?;
    }
    // What it does not have is not asked for again.
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Status(404),
    });
    gives_up(host, url, "answered 404, expected 200").context("chunks: none")?;
    // What is wrong three times is not asked for a fourth.
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Garbled,
    });
    gives_up(host, url, "chunk ").context("chunks: garbled")
}

/// A bundle with the head of one version and the chunks of another.
fn with_chunks_of_another_version(
    host: &Host,
    good: &Release,
    server: &Server,
    url: &str,
) -> Result<()> {
    let head = fixture::folder("stories/fault-servers.web")?.join("shop.head");
    let mut mixed = std::fs::read(&head)?;
    let begins = mixed.len();
    let other = std::fs::read(&updates::old()?.bundle)?;
    mixed.extend_from_slice(other.get(begins..).context("a short bundle")?);
    // As long as it has to be.
    mixed.resize(std::fs::read(&good.bundle)?.len(), 0);
    let file = head.with_file_name("mixed.orlop");
    std::fs::write(&file, mixed)?;
    let operator = host.guest.operator();
    let asked = operator.try_run(&["update", "--no-reboot", &file.display().to_string()])?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(
        !asked.status.success() && said.contains("chunk "),
        "{asked:?}"
    );
    // The host is not left waiting for the right ones.
    fixture::wait_output(&host.guest, &["update", "--status"], "given up")?;
    host.is_unharmed()?;

    server.choose(|_, _| Manner::Well);
    gives_up(host, &format!("{url}/mixed.orlop"), "chunk ").context("mixed chunks")
}

/// It breaks off every connection, for as long as it is waited for, which is hours.
fn that_is_gone(host: &Host, server: &Server, url: &str) -> Result<()> {
    server.choose(|number, _| match number {
        0 => Manner::Well,
        _ => Manner::Drops,
    });
    does_not_get_on(host, url, ".zst: ").context("a server that is gone")
}

/// It is under way, with `expected` for what stands in the way, until it is told to
/// give up.
fn does_not_get_on(host: &Host, url: &str, expected: &str) -> Result<()> {
    let operator = host.guest.operator();
    let mut asking = operator.command();
    asking.args(["update", "--no-reboot", url]);
    asking.stdout(Stdio::null()).stderr(Stdio::null());
    let mut asking = asking.spawn().context("cannot run the orlop command")?;
    let seen = fixture::wait(expected, || {
        let status = updates::update_status(&host.guest)?;
        let problem = status.problem.unwrap_or_default();
        Ok(status.phase == UpdatePhase::Fetching && problem.contains(expected))
    });
    let cancelled = operator.run(&["update", "--cancel"]);
    let ended = asking.wait()?;
    seen?;
    cancelled?;
    ensure!(!ended.success(), "the update ended well");
    let told = fixture::wait_output(&host.guest, &["update", "--status"], "given up")?;
    ensure!(told.contains("failed"), "{told}");
    host.is_unharmed()
}

/// It gives up by itself, for a reason that has `expected` in it.
fn gives_up(host: &Host, url: &str, expected: &str) -> Result<()> {
    host.refuses(url, expected)?;
    let status = updates::update_status(&host.guest)?;
    let problem = status.problem.unwrap_or_default();
    ensure!(
        status.phase == UpdatePhase::Failed && problem.contains(expected),
        "no {expected:?}: {problem}"
    );
    host.is_unharmed()
}
