//! The fault matrix: what may go wrong with an update, and that the host comes out
//! of it by itself, with the old version or the new one up, its containers healthy,
//! and a word on what it was.
//!
//! | case | story |
//! |------|-------|
//! | kernel that panics | [`boots::panicking_kernel`]; one that ran: `watchdogs::panicked_kernel` |
//! | truncated UKI | [`boots::truncated_kernel`]; with nothing recorded: `boot_partition::truncated_image` |
//! | flipped bit in the root | [`boots::flipped_root_bit`]; in the manager there: [`managers::that_never_answer`] |
//! | flipped bit in the verity tree | [`boots::flipped_tree_bit`] |
//! | PID 1 that exits | [`boots::exiting_init`] |
//! | manager that crashes in a loop | [`managers::that_never_answer`]; once: `trials::manager_killed` |
//! | manager that hangs | [`managers::that_never_answer`]; once: `watchdogs::hung_manager` |
//! | gate unit that never gets healthy | [`gates::that_stay_shut`]; without an update: `trials::given_up` |
//! | gate unit that flaps | [`gates::that_stay_shut`] |
//! | image of a unit missing in the new version | [`gates::that_stay_shut`] |
//! | full state partition | [`full_state::updated`] |
//! | full ESP | [`refusals::nothing_harms`] |
//! | bad signature, unknown key, older version, another host's bundle | [`refusals::nothing_harms`] |
//! | bundle cut at any byte | [`refusals::nothing_harms`] |
//! | web server that stalls, lies about length, serves other bytes, goes away | [`refusals::nothing_harms`] |
//! | power cut while downloading | `updates::power_cut_while_fetching` |
//! | power cut while writing, while blessing, twice in a row | [`power::gone_three_times`]; at every write: `power_cuts::every_write` |
//!
//! The quick form, which `cargo vm test` runs, puts a new version on the disk as an
//! update leaves it, but with one try, and makes pauses short. In the full form,
//! which `cargo vm faults` runs, the host itself installs it, and all three tries
//! are used up; and the end has to come within [`LIMIT`], by the guest's own clock.

pub(super) mod boots;
mod bundles;
pub(super) mod full_state;
pub(super) mod gates;
pub(super) mod managers;
pub(super) mod power;
pub(super) mod refusals;
mod servers;
mod versions;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::{FailedUpdate, InstalledVersion, VersionState};
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::Config;
use orlop_qemu::uptimes::time_since;

use super::trials::wait_good;
use super::updates;
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::releases::Release;

/// The guest's time from the first boot of what is bad until the containers of what is good are
/// healthy.
const LIMIT: Duration = Duration::from_secs(120);

/// How much of a story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Quick,
    Full,
}

impl Form {
    /// The full one is asked for by `ORLOP_FAULTS=full`.
    fn of_this_run() -> Form {
        match std::env::var("ORLOP_FAULTS").as_deref() {
            Ok("full") => Form::Full,
            _ => Form::Quick,
        }
    }

    /// How often the boot loader tries a version.
    fn tries(self) -> u32 {
        match self {
            Form::Quick => 1,
            Form::Full => 3,
        }
    }

    /// Words for the kernel that make a pause short.
    fn shortened(self, words: &str) -> &str {
        match self {
            Form::Quick => words,
            Form::Full => "",
        }
    }
}

/// A version 2 that never comes as far as to judge itself.
struct Doomed<'a> {
    story: &'a str,
    new: Release,
    /// What is done to the disk once it is installed.
    damage: fn(&Path) -> Result<()>,
    /// What the console says once at each try.
    says: &'a str,
    /// And what it says of the reason.
    because: &'a str,
    /// What the host that comes up tells of the reason.
    tells: &'a str,
    /// What it is for the host that comes up.
    state: VersionState,
}

impl Doomed<'_> {
    /// It is tried as often as it may be; then version 1 comes up by itself, and
    /// tells of it.
    fn gives_way(&self) -> Result<()> {
        let form = Form::of_this_run();
        let tries = form.tries();
        let config = updates::disk(self.story)?;
        install(&config, &self.new, form)?;
        (self.damage)(&config.disk)?;
        let mut guest = fixture::boot_within(config.clone(), PATIENCE * (1 + tries))?;
        wait_good(&guest, 1)?;
        healthy(&guest, "1.0.0")?;
        in_time(self.story, &guest, tries as usize)?;
        let failed = gone_back(&guest, 2, "2.0.0", self.state)?;
        let starts = match tries {
            1 => "it was started once and never found good".to_owned(),
            _ => format!("it was started {tries} times and never found good"),
        };
        ensure!(failed.reason.starts_with(&starts), "{failed:?}");
        fixture::wait_output(&guest, &["status"], self.tells)?;
        let screen = "! version 2.0.0 (installation 2) failed its trial: ";
        guest.machine().console().expect(screen, PATIENCE)?;
        guest.power_off(PATIENCE)?;
        let console = guest.console_text();
        let said = console.lines().filter(|line| line.contains(self.says));
        ensure!(
            said.count() == tries as usize && console.contains(self.because),
            "not {tries} times {:?}, because {:?}:\n{console}",
            self.says,
            self.because
        );
        let names = esp_files::names(&config.disk, ENTRIES)?;
        let given_up = format!("orlop_2_2.0.0+0-{tries}.efi");
        ensure!(names == ["orlop_1_1.0.0.efi", &given_up], "{names:?}");
        Ok(())
    }
}

/// Puts `new` into slot B of a machine that has version 1, and leaves it off.
fn install(config: &Config, new: &Release, form: Form) -> Result<()> {
    match form {
        Form::Quick => esp_files::install(&new.image, &config.disk, "orlop_2_2.0.0+1.efi"),
        Form::Full => {
            let mut guest = fixture::boot(config.clone())?;
            wait_good(&guest, 1)?;
            let bundle = new.bundle.display().to_string();
            guest.operator().run(&["update", "--no-reboot", &bundle])?;
            guest.power_off(PATIENCE)
        }
    }
}

/// Version 1 runs with its container healthy, and says why installation `serial` of
/// `version` does not.
fn gone_back(
    guest: &Guest,
    serial: u64,
    version: &str,
    state: VersionState,
) -> Result<FailedUpdate> {
    healthy(guest, "1.0.0")?;
    let status = guest.operator().status()?;
    let failed = status.failed_update.context("nothing failed")?;
    ensure!(
        (failed.serial, failed.version.as_str()) == (serial, version),
        "{failed:?}"
    );
    let told = guest.operator().run(&["status"])?;
    let wanted = format!(
        "version {version} (installation {serial}) failed its trial: {}",
        failed.reason
    );
    ensure!(told.contains(&wanted), "no {wanted:?}: {told}");
    let versions: Vec<InstalledVersion> = guest.operator().json(&["versions"])?;
    let states: Vec<_> = versions
        .iter()
        .map(|version| (version.serial, version.running, version.state))
        .collect();
    ensure!(
        states == [(serial, false, state), (1, true, VersionState::Good)],
        "{versions:?}"
    );
    Ok(failed)
}

/// The containers are healthy now, and the boots that led here, `before` of them and the one that
/// runs, took no longer than [`LIMIT`]. In the quick form that is only told.
fn in_time(story: &str, guest: &Guest, before: usize) -> Result<()> {
    let now = Duration::from_millis(guest.operator().status()?.uptime_ms);
    let took = time_since(&guest.console_text(), before, now)?;
    let seconds = took.as_secs();
    eprintln!("{story}: healthy after {seconds} s of guest time, {before} boots before this one");
    ensure!(
        took <= LIMIT || Form::of_this_run() == Form::Quick,
        "{story}: {seconds} s of guest time until the containers were healthy, expected at most {} s",
        LIMIT.as_secs()
    );
    Ok(())
}

/// `version` runs, and its container is healthy.
fn healthy(guest: &Guest, version: &str) -> Result<()> {
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;
    let status = guest.operator().status()?;
    ensure!(status.version == version, "{status:?}");
    Ok(())
}
