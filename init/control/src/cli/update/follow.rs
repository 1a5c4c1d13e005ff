//! Follows an update that the host makes by itself, for as long as this boot of it lasts.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::failure::Failure;
use super::shown::Shown;
use super::text;
use super::wait::WAIT_MAX;
use crate::client::{Client, ClientError};
use crate::types::{HostStatus, UpdatePhase, UpdateStatus};

/// How often the host is asked.
const LOOK: Duration = Duration::from_millis(500);
/// How long one look may take: a host that lost its power does not close its connections.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(20);
/// The pause after it did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row it may not answer.
const LOST_MAX: u32 = 10;

/// Follows the update that is at `update`, until it is installed or the host reboots. A host that
/// has rebooted since it was seen as `before`, and does not go on, is in the phase `rebooting`, too.
pub(super) async fn follow(
    client: &Client,
    before: &HostStatus,
    update: UpdateStatus,
    shown: &mut Shown,
) -> Result<UpdateStatus, Failure> {
    let mut last = update.clone();
    let mut now = update;
    let mut rebooted = false;
    loop {
        match step(&last, now, rebooted) {
            Step::On(on) => last = on,
            Step::End(end) => return Ok(end),
            Step::Failed(failure) => return Err(failure),
        }
        shown.at(&last);
        tokio::time::sleep(LOOK).await;
        let (mut lost, gone) = (0, Instant::now());
        (now, rebooted) = loop {
            let seen = look(client, before, &last, lost > 0);
            let seen = timeout(LOOK_MAX, seen)
                .await
                .unwrap_or_else(|_| Err(late(client)));
            match seen {
                Ok(seen) => break seen,
                Err(error)
                    if error.is_passing() && is_patient(last.phase, lost, gone.elapsed()) =>
                {
                    lost += 1;
                    shown.interrupted(&error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
    }
}

fn late(client: &Client) -> ClientError {
    ClientError::Timeout {
        host: client.endpoint().to_string(),
        seconds: LOOK_MAX.as_secs(),
    }
}

/// How the update is now, and whether the host has rebooted since `before`, which is asked for only
/// when something suggests it.
async fn look(
    client: &Client,
    before: &HostStatus,
    last: &UpdateStatus,
    lost: bool,
) -> Result<(UpdateStatus, bool), ClientError> {
    let now = client.update_status().await?;
    let odd = now.phase == UpdatePhase::Idle || now.version != last.version;
    let rebooted = (lost || odd) && client.status().await?.boot_id != before.boot_id;
    Ok((now, rebooted))
}

/// What follows from how the update is.
enum Step {
    /// It is under way.
    On(UpdateStatus),
    /// It went as far as this boot takes it.
    End(UpdateStatus),
    /// It came to nothing.
    Failed(Failure),
}

fn step(last: &UpdateStatus, now: UpdateStatus, rebooted: bool) -> Step {
    let version = text::version(last);
    // One that lost its power goes on by itself.
    let goes_on = now.phase.is_under_way() && now.version == last.version;
    if rebooted && !goes_on {
        return Step::End(UpdateStatus {
            phase: UpdatePhase::Rebooting,
            ..last.clone()
        });
    }
    if let Some(other) = now.version.as_ref().filter(|other| *other != version) {
        let failure = Failure::new(format!(
            "the host is being updated to {other} now, not to {version}: somebody else asked for it"
        ));
        return Step::Failed(failure.help("`orlop update --status` says how far it is"));
    }
    match now.phase {
        UpdatePhase::Surveying
        | UpdatePhase::Fetching
        | UpdatePhase::Receiving
        | UpdatePhase::Verifying
        | UpdatePhase::Installing => Step::On(now),
        UpdatePhase::Installed | UpdatePhase::Rebooting => Step::End(now),
        UpdatePhase::Idle => Step::Failed(
            Failure::new(format!(
                "the host has forgotten the update to {version}: its manager was started anew"
            ))
            .help("the same command goes on from what the host has"),
        ),
        UpdatePhase::Failed => {
            let reason = now
                .problem
                .as_deref()
                .unwrap_or("the host does not say why");
            Step::Failed(
                Failure::new(format!("the update to {version} was given up: {reason}"))
                    .help("what was moved is not moved again when the same command is given"),
            )
        }
    }
}

/// Whether a host is still waited for that was in `phase`, and then gave no answer so often and for
/// so long. It may be rebooting.
fn is_patient(phase: UpdatePhase, lost: u32, gone: Duration) -> bool {
    match phase {
        UpdatePhase::Verifying | UpdatePhase::Installing => gone < WAIT_MAX,
        UpdatePhase::Idle
        | UpdatePhase::Surveying
        | UpdatePhase::Fetching
        | UpdatePhase::Receiving
        | UpdatePhase::Installed
        | UpdatePhase::Rebooting
        | UpdatePhase::Failed => lost < LOST_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(phase: UpdatePhase, version: Option<&str>) -> UpdateStatus {
        UpdateStatus {
            phase,
            version: version.map(str::to_owned),
            problem: Some("no room".to_owned()),
            ..UpdateStatus::default()
        }
    }

    #[test]
    fn table() {
        use UpdatePhase::*;
        let last = update(Installing, Some("2.0"));
        let cases = [
            (Fetching, Some("2.0"), false, "on"),
            (Verifying, Some("2.0"), false, "on"),
            (Installed, Some("2.0"), false, "end Installed"),
            (Rebooting, Some("2.0"), false, "end Rebooting"),
            (Failed, Some("2.0"), false, "2.0 was given up: no room"),
            (Idle, Some("2.0"), false, "forgotten the update to 2.0"),
            (Idle, None, false, "forgotten the update to 2.0"),
            (Surveying, Some("3.0"), false, "to 3.0 now, not to 2.0"),
            // Whatever the new boot says of updates.
            (Idle, None, true, "end Rebooting"),
            (Surveying, Some("3.0"), true, "end Rebooting"),
        ];
        for (phase, version, rebooted, words) in cases {
            let said = match step(&last, update(phase, version), rebooted) {
                Step::On(_) => "on".to_owned(),
                Step::End(end) => format!("end {:?}", end.phase),
                Step::Failed(failure) => format!("{failure:?}"),
            };
            assert!(said.contains(words), "{phase:?} {version:?}: {said}");
        }
    }

    #[test]
    fn a_host_that_may_reboot_is_waited_for_longer() {
        let minute = Duration::from_secs(60);
        for (phase, lost, gone, patient) in [
            (UpdatePhase::Fetching, 0, minute, true),
            (UpdatePhase::Fetching, 9, minute, true),
            (UpdatePhase::Fetching, 10, minute, false),
            (UpdatePhase::Installing, 10, minute, true),
            (UpdatePhase::Installing, 100, 15 * minute, false),
        ] {
            assert_eq!(is_patient(phase, lost, gone), patient, "{phase:?} {lost}");
        }
    }
}
