//! Whether a version came up and is kept, told from how the host is.

use super::super::status::last_words;
use crate::types::{HostStatus, InstalledVersion, VersionState};

/// What a reboot is to lead to.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Goal {
    /// The version that is to run and be good.
    pub(super) version: String,
    /// Its installation. None: a newer one than ran before.
    serial: Option<u64>,
    /// How the host was before.
    before: HostStatus,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may still come; this is waited for.
    Wait(String),
    /// It is so.
    Kept(InstalledVersion),
    /// Another version runs, and nothing says why: the host may be about to say it.
    Astray(String),
    /// It will not be.
    Failed {
        reason: String,
        /// What units wrote.
        details: Vec<String>,
    },
}

impl Goal {
    /// The next installation of `version` is kept.
    pub(in super::super) fn update(version: String, before: HostStatus) -> Self {
        Self {
            version,
            serial: None,
            before,
        }
    }

    /// The host runs `target` again.
    pub(in super::super) fn rollback(target: &InstalledVersion, before: HostStatus) -> Self {
        Self {
            version: target.version.clone(),
            serial: Some(target.serial),
            before,
        }
    }

    /// Whether the host runs what it is to run.
    fn runs_on(&self, host: &HostStatus) -> bool {
        match self.serial {
            Some(serial) => host.serial == serial,
            None => host.serial > self.before.serial && host.version == self.version,
        }
    }
}

/// Judges how the host is. `versions` are none while the host cannot tell them.
pub(super) fn judge(
    goal: &Goal,
    host: &HostStatus,
    versions: Option<&[InstalledVersion]>,
) -> Verdict {
    match (goal.runs_on(host), host.boot_id == goal.before.boot_id) {
        (true, _) => runs(host, versions.unwrap_or_default()),
        (false, true) => Verdict::Wait("the host is about to reboot".to_owned()),
        (false, false) => other_runs(goal, host),
    }
}

/// It runs; is it kept?
fn runs(host: &HostStatus, versions: &[InstalledVersion]) -> Verdict {
    if let Some(trial) = &host.trial {
        return Verdict::Wait(match trial.waits_for.as_slice() {
            [] => "on trial; all is well, and has to stay so for a while".to_owned(),
            units => format!("on trial, waits for {}", units.join("; ")),
        });
    }
    let Some(version) = versions.iter().find(|it| it.serial == host.serial) else {
        return Verdict::Wait("runs; whether it is on trial is not known yet".to_owned());
    };
    match version.state {
        VersionState::Good => Verdict::Kept(version.clone()),
        VersionState::Trial => Verdict::Wait("on trial, which is about to begin".to_owned()),
        VersionState::Broken => Verdict::Wait("runs; its boot entry cannot be read".to_owned()),
        VersionState::Failed => {
            let good = |it: &&InstalledVersion| !it.running && it.state == VersionState::Good;
            let reason = failure(host, host.serial).unwrap_or("for a reason that is not known yet");
            match versions.iter().find(good) {
                Some(good) => Verdict::Wait(format!(
                    "failed its trial: {reason}; the host goes back to {}",
                    good.version
                )),
                None => Verdict::Failed {
                    reason: format!("{reason}; there is no other version to go back to"),
                    details: details(host),
                },
            }
        }
    }
}

/// Another version runs since a reboot.
fn other_runs(goal: &Goal, host: &HostStatus) -> Verdict {
    let failed = host.failed_update.as_ref().filter(|failed| {
        failed.version == goal.version
            && failed.serial > host.serial
            && host.failed_update != goal.before.failed_update
    });
    match failed {
        Some(failed) => Verdict::Failed {
            reason: format!("{}; {} runs", failed.reason, host.version),
            details: details(host),
        },
        None => Verdict::Astray(format!(
            "the host came up with {}, installation {}",
            host.version, host.serial
        )),
    }
}

/// Why the installation `serial` was given up.
fn failure(host: &HostStatus, serial: u64) -> Option<&str> {
    let failed = host.failed_update.as_ref()?;
    (failed.serial == serial).then_some(failed.reason.as_str())
}

fn details(host: &HostStatus) -> Vec<String> {
    let words = last_words(host);
    let words = words.trim();
    (!words.is_empty())
        .then(|| words.to_owned())
        .into_iter()
        .collect()
}

/// `2.0.0, installation 3 in slot b`.
pub(in super::super) fn named(version: &InstalledVersion) -> String {
    let (name, serial) = (&version.version, version.serial);
    match &version.slot {
        Some(slot) => format!("{name}, installation {serial} in slot {slot}"),
        None => format!("{name}, installation {serial}"),
    }
}

#[cfg(test)]
mod tests;
