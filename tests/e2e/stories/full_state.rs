//! A state partition without a byte to spare.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitState;
use orlop_qemu::{guest::Guest, http};

use crate::fixture::{self, PATIENCE};

/// Serves while the disk is full, from a writable root.
const SERVER: &str = "[container]\nimage = \"localhost/busybox:1\"\nports = [\"8080:8000\"]\n\
    command = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/etc\"]\n";

/// Says a line when it is asked to.
const SPEAKER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// Takes all that it can get with a volume, its log and its root, over and over.
pub(super) const HOG: &str = "[container]\nimage = \"localhost/busybox:1\"\nvolumes = [\"hog:/data\"]\n\
    command = [\"busybox\", \"sh\", \"-c\", '''\n\
    [ -e /data/some ] || busybox dd if=/dev/zero of=/data/some bs=1M count=8\n\
    while true; do busybox head -c 4000000 /dev/urandom\n\
    busybox dd if=/dev/zero bs=64k >> /fill; busybox dd if=/dev/zero bs=1k >> /fill\n\
    busybox sync; busybox sleep 1; done''']\n\
    [logs]\nmax-size = \"1G\"\n";

/// What ran goes on, and the host says what is wrong and what to do. What does
/// not fit is refused whole; a unit file fits, as the host has kept room. After
/// a power cut all units come up. Once the hog is removed everything works
/// again, and of the log that lacked room every byte is accounted for.
pub(crate) fn full_state() -> Result<()> {
    let extra = "[disk]\nstate = \"192M\"\n";
    let image = fixture::host_image("small-state", extra, &[("server", SERVER)])?;
    let mut config = fixture::disk_as_built(&image, "full-state")?;
    let port = fixture::forward(&mut config, 8080)?;
    let mut guest = fixture::boot(config.clone())?;
    let before = expect_service(&guest, port)?;
    fixture::apply(&guest, &[("hog", HOG)])?;
    expect_full(&guest)?;
    fixture::apply(&guest, &[("speaker", SPEAKER)])?;
    fixture::wait_state(&guest, "speaker", UnitState::Running)?;
    expect_refusals(&guest)?;
    let after = expect_service(&guest, port)?;
    ensure!(
        after == before,
        "the server did not go on: {before} {after}"
    );
    guest.machine().cut_power()?;

    let mut guest = fixture::boot(config)?;
    expect_full(&guest)?;
    for unit in ["speaker", "hog"] {
        fixture::wait_state(&guest, unit, UnitState::Running)?;
    }
    expect_service(&guest, port)?;
    let mut words = Words::default();
    while words.lost(&guest)? == 0 {
        words.say(&guest)?;
    }
    let operator = guest.operator();
    operator.run(&["exec", "hog", "busybox", "rm", "/data/some"])?;
    operator.run(&["rm", "hog"])?;
    words.say(&guest)?;
    words.expect_all(&guest)?;
    let archive = fixture::busybox()?.display().to_string();
    guest.operator().run(&["load", &archive])?;
    let warnings = guest.operator().status()?.warnings;
    let full = |warning: &String| warning.contains("state partition");
    ensure!(!warnings.iter().any(full), "{warnings:?}");
    guest.power_off(PATIENCE)
}

/// The server answers; gives its process.
fn expect_service(guest: &Guest, port: u16) -> Result<i32> {
    let unit = fixture::wait_state(guest, "server", UnitState::Running)?;
    fixture::wait("the server to answer", || {
        Ok(http::get(port, "/hostname").is_ok_and(|(status, _)| status == 200))
    })?;
    unit.pid.context("no process")
}

/// There is nothing left for containers; `status` and the console say so, and
/// what to do.
pub(super) fn expect_full(guest: &Guest) -> Result<()> {
    const FULL: &str = "the state partition is full";
    fixture::wait("a full disk", || {
        Ok(guest.operator().status()?.state_free == 0)
    })?;
    let text = guest.operator().run(&["status"])?;
    ensure!(text.contains(FULL), "no word on it: {text}");
    ensure!(text.contains("orlop rm"), "no word on what to do: {text}");
    fixture::wait("the console to say it", || {
        Ok(guest.console_text().contains(FULL))
    })
}

/// What does not fit is refused with a reason, and changes nothing.
fn expect_refusals(guest: &Guest) -> Result<()> {
    let seen = || -> Result<_> {
        let operator = guest.operator();
        let units: Vec<_> = operator
            .units()?
            .into_iter()
            .map(|unit| (unit.name, unit.pid))
            .collect();
        Ok((units, operator.run(&["images"])?))
    };
    let before = seen()?;
    let archive = fixture::busybox()?.display().to_string();
    // More than the host keeps for itself, and one of them is there already.
    let comment = "#".repeat(1_000_000);
    let large = format!("{SPEAKER}environment = {{ A = \"1\" }}\n{comment}");
    let files = ["one", "two", "three", "speaker"].map(|name| (name, large.as_bytes()));
    for (what, answer) in [
        ("load", guest.operator().try_run(&["load", &archive])?),
        ("apply", fixture::try_apply(guest, &files)?),
    ] {
        let words = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!answer.status.success(), "{what} on a full disk: {words}");
        ensure!(
            words.contains("state partition") && words.contains("orlop rm"),
            "{what} says not why, or not what to do: {words}"
        );
        let after = seen()?;
        ensure!(after == before, "{what}: {before:?}, then {after:?}");
    }
    Ok(())
}

/// Lines that the speaker was asked to say.
#[derive(Default)]
struct Words {
    lines: Vec<String>,
}

impl Words {
    fn say(&mut self, guest: &Guest) -> Result<()> {
        let line = format!("line {}", self.lines.len());
        let said = format!("echo {line} > /proc/1/fd/1");
        let arguments = ["exec", "speaker", "busybox", "sh", "-c", &said];
        guest.operator().run(&arguments)?;
        self.lines.push(line);
        Ok(())
    }

    /// How many bytes the log says are not in it.
    fn lost(&self, guest: &Guest) -> Result<usize> {
        let text = guest.operator().run(&["logs", "speaker"])?;
        text.lines().filter_map(lost).sum()
    }

    /// Every byte is in the log, or counted in it; the last line is.
    fn expect_all(&self, guest: &Guest) -> Result<()> {
        let last = self.lines.last().context("nothing was said")?;
        let text = fixture::wait_output(guest, &["logs", "speaker"], last)?;
        let mut accounted = self.lost(guest)?;
        for line in text.lines().filter(|line| lost(line).is_none()) {
            let whole = self.lines.iter().any(|said| said == line);
            accounted += line.len() + usize::from(whole);
        }
        let said: usize = self.lines.iter().map(|line| line.len() + 1).sum();
        ensure!(accounted == said, "{accounted} of {said} bytes:\n{text}");
        Ok(())
    }
}

/// The count in a log's line that says how much is missing.
fn lost(line: &str) -> Option<Result<usize>> {
    let (count, _) = line
        .strip_prefix("[orlop: ")?
        .split_once(" bytes dropped")?;
    Some(count.parse().context("not a count"))
}
