//! What is said of updates.

use jiff::Timestamp;

use super::super::failure::{Failure, Outcome};
use super::super::table::{bytes, duration, list, since};
use crate::types::{ChannelStatus, HostStatus, UpdatePhase, UpdatePlan, UpdateStatus};

/// `orlop update --status`.
pub(super) fn status(update: &UpdateStatus, now: Timestamp) -> String {
    let mut rows = vec![
        ("Update", update.phase.as_str().to_owned()),
        ("Version", update.version.clone().unwrap_or_default()),
        ("Source", update.source.clone().unwrap_or_default()),
    ];
    if let Some(plan) = &update.plan {
        rows.push(("To move", to_move(plan)));
        rows.push(("Moved", bytes(update.moved)));
    }
    rows.push(("Problem", update.problem.clone().unwrap_or_default()));
    if let Some(next) = update.next_try_ms {
        rows.push(("Next try", next_try(next, update.gives_up_ms)));
    }
    match &update.channel {
        Some(channel) => rows.extend(channel_rows(channel, now)),
        None => rows.push(("Channel", "none".to_owned())),
    }
    list(&rows)
}

/// `in 4 minutes; given up in 11 hours, unless something comes`.
fn next_try(next_ms: u64, gives_up_ms: Option<u64>) -> String {
    let given_up = gives_up_ms.map_or_else(String::new, |ms| {
        format!("; given up in {}, unless something comes", left(ms))
    });
    format!("in {}{given_up}", left(next_ms))
}

fn left(ms: u64) -> String {
    duration(i64::try_from(ms / 1000).unwrap_or(i64::MAX))
}

fn channel_rows(channel: &ChannelStatus, now: Timestamp) -> [(&'static str, String); 4] {
    let checked = match channel.checked {
        Some(at) => format!("{} ago", since(at, now)),
        None => "not yet".to_owned(),
    };
    let next = channel
        .next_ms
        .map_or_else(String::new, |ms| format!(", next in {}", left(ms)));
    [
        ("Channel", channel.url.clone()),
        ("Apply", channel.apply.clone()),
        ("Checked", format!("{checked}{next}")),
        ("Found", channel.found.clone()),
    ]
}

/// `12 MiB in 345 of 900 chunks, 30.0 % of the image's 40 MiB`.
pub(super) fn to_move(plan: &UpdatePlan) -> String {
    format!(
        "{} in {} of {} chunks, {} of the image's {}",
        bytes(plan.missing_size),
        plan.missing_chunks,
        plan.chunks,
        share(plan),
        bytes(plan.size)
    )
}

/// What is moved of the image.
fn share(plan: &UpdatePlan) -> String {
    let thousandths = u128::from(plan.missing_size) * 1000 / u128::from(plan.size.max(1));
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// Whether the host said what an update would move.
pub(super) fn planned(update: &UpdateStatus) -> Outcome {
    match (&update.plan, &update.problem, &update.channel) {
        (Some(_), _, _) => Ok(()),
        (None, Some(problem), _) => Err(Failure::new(problem.clone())),
        (None, None, Some(channel)) if !channel.found.is_empty() => Ok(()),
        (None, None, _) => Err(Failure::new("the host did not say what would be moved")
            .help("`orlop update --status` says how it is")),
    }
}

/// `orlop update --dry-run`.
pub(super) fn plan(update: &UpdateStatus, before: &HostStatus) -> String {
    let (Some(plan), Some(version)) = (&update.plan, &update.version) else {
        return ended(update);
    };
    list(&[
        ("Version", format!("{version}, from {}", before.version)),
        (
            "Image",
            format!("{} in {} chunks", bytes(plan.size), plan.chunks),
        ),
        (
            "To move",
            format!(
                "{} in {} chunks, {} of the image",
                bytes(plan.missing_size),
                plan.missing_chunks,
                share(plan)
            ),
        ),
    ])
}

/// How an update is that goes no further by this command.
pub(super) fn ended(update: &UpdateStatus) -> String {
    let version = version(update);
    match update.phase {
        UpdatePhase::Installed => format!(
            "{version} is installed; it starts at the next boot, on trial: `orlop reboot`\n"
        ),
        UpdatePhase::Rebooting => format!("the host reboots into {version}, on trial\n"),
        UpdatePhase::Idle => match &update.channel {
            Some(channel) if !channel.found.is_empty() => format!("{}\n", channel.found),
            Some(_) | None => "there is nothing to update to\n".to_owned(),
        },
        UpdatePhase::Surveying
        | UpdatePhase::Fetching
        | UpdatePhase::Receiving
        | UpdatePhase::Verifying
        | UpdatePhase::Installing
        | UpdatePhase::Failed => format!("{version}: {}\n", update.phase.as_str()),
    }
}

/// `orlop update --cancel`.
pub(super) fn cancelled(update: &UpdateStatus) -> String {
    match (update.phase, &update.version) {
        (UpdatePhase::Idle | UpdatePhase::Failed, Some(version)) => {
            format!("the update to {version} is given up\n")
        }
        (UpdatePhase::Idle | UpdatePhase::Failed, None) => "no update is under way\n".to_owned(),
        _ => ended(update),
    }
}

/// The version that an update is to.
pub(super) fn version(update: &UpdateStatus) -> &str {
    update.version.as_deref().unwrap_or("the new version")
}

#[cfg(test)]
mod tests {
    use super::super::super::ps::tests::now;
    use super::*;

    const PLAN: UpdatePlan = UpdatePlan {
        size: 40 << 20,
        chunks: 900,
        missing_chunks: 345,
        missing_size: 12 << 20,
    };

    fn update(phase: UpdatePhase) -> UpdateStatus {
        UpdateStatus {
            phase,
            version: Some("2.0.0".to_owned()),
            source: Some("upload".to_owned()),
            plan: Some(PLAN),
            moved: 3 << 20,
            ..UpdateStatus::default()
        }
    }

    #[test]
    fn a_status_tells_of_the_update_and_the_channel() {
        let mut failed = update(UpdatePhase::Failed);
        failed.problem = Some("the state partition is full".to_owned());
        failed.channel = Some(ChannelStatus {
            url: "https://updates.example/demo".to_owned(),
            apply: "download".to_owned(),
            checked: Some("2026-11-21T09:58:00Z".parse().unwrap()),
            next_ms: Some(3_600_000),
            found: "2.0.0, which is newer".to_owned(),
        });
        assert_eq!(
            status(&failed, now()),
            "\
Update:   failed
Version:  2.0.0
Source:   upload
To move:  12 MiB in 345 of 900 chunks, 30.0 % of the image's 40 MiB
Moved:    3.0 MiB
Problem:  the state partition is full
Channel:  https://updates.example/demo
Apply:    download
Checked:  2 minutes ago, next in 1 hour
Found:    2.0.0, which is newer
"
        );
        let mut waits = update(UpdatePhase::Fetching);
        waits.problem = Some("http://h/x: refused".to_owned());
        (waits.next_try_ms, waits.gives_up_ms) = (Some(240_000), Some(39_600_000));
        let told = status(&waits, now());
        let next = "Next try: in 4 minutes; given up in 11 hours, unless something comes\n";
        assert!(told.contains("http://h/x: refused\n"), "{told}");
        assert!(told.replace("  ", " ").contains(next), "{told}");
        let none = status(&UpdateStatus::default(), now());
        assert_eq!(none, "Update:   idle\nChannel:  none\n");
    }

    #[test]
    fn a_dry_run_says_what_would_be_moved() {
        let before = HostStatus {
            version: "1.0.0".to_owned(),
            ..HostStatus::default()
        };
        let mut dry = update(UpdatePhase::Idle);
        assert_eq!(
            plan(&dry, &before),
            "\
Version:  2.0.0, from 1.0.0
Image:    40 MiB in 900 chunks
To move:  12 MiB in 345 chunks, 30.0 % of the image
"
        );
        assert!(planned(&dry).is_ok());
        dry.plan = None;
        assert!(planned(&dry).is_err());
        dry.channel = Some(ChannelStatus {
            found: "nothing newer than 1.0.0".to_owned(),
            ..ChannelStatus::default()
        });
        assert!(planned(&dry).is_ok());
        assert_eq!(plan(&dry, &before), "nothing newer than 1.0.0\n");
    }

    #[test]
    fn shares_are_told_to_a_tenth() {
        for (missing_size, size, text) in [
            (0, 0, "0.0 %"),
            (1, 3, "33.3 %"),
            (5, 5, "100.0 %"),
            (u64::MAX, u64::MAX, "100.0 %"),
        ] {
            let plan = UpdatePlan {
                size,
                missing_size,
                ..UpdatePlan::default()
            };
            assert_eq!(share(&plan), text);
        }
    }

    #[test]
    fn ends_say_what_comes_next() {
        for (phase, words) in [
            (
                UpdatePhase::Installed,
                "at the next boot, on trial: `orlop reboot`",
            ),
            (UpdatePhase::Rebooting, "reboots into 2.0.0"),
            (UpdatePhase::Idle, "nothing to update to"),
            (UpdatePhase::Verifying, "2.0.0: verifying"),
        ] {
            let text = ended(&update(phase));
            assert!(text.contains(words), "{text}");
        }
        let given_up = cancelled(&update(UpdatePhase::Failed));
        assert_eq!(given_up, "the update to 2.0.0 is given up\n");
        let none = cancelled(&UpdateStatus::default());
        assert_eq!(none, "no update is under way\n");
    }
}
