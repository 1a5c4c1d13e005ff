//! What is told of trials and installs: by the host's status, and by `orlop versions`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_control::types::{
    ApiError, FailedUpdate, HostStatus, InstalledVersion, TrialStatus, VersionState,
};
use orlop_handover::Slot;
use orlop_slot::trial::{Installed, Outcome, Record, Running};

/// How many warnings are kept.
const WARNINGS_MAX: usize = 16;

/// What is known; every clone knows the same.
#[derive(Debug, Clone, Default)]
pub struct Trial(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    /// The installs, or why they cannot be told; `None` before they were looked for.
    versions: Option<Result<Vec<InstalledVersion>, String>>,
    trial: Option<TrialStatus>,
    /// No trial is to be decided, or is yet to be found out about.
    settled: bool,
    /// Why what runs cannot be judged, where nobody is to wait for that.
    unread: Option<String>,
    failed: Option<FailedUpdate>,
    /// What came of a trial that failed, where it did not go back.
    notice: Option<String>,
    /// What is wrong now.
    problems: Vec<String>,
    /// What went wrong in this boot.
    warnings: Vec<String>,
}

impl Trial {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is known into a status.
    pub fn tell(&self, status: &mut HostStatus) {
        let shown = self.lock();
        status.trial.clone_from(&shown.trial);
        status.failed_update.clone_from(&shown.failed);
        let failed = shown.failed.as_ref().map(|failed| {
            let (version, serial) = (&failed.version, failed.serial);
            match &shown.notice {
                Some(notice) => format!("{notice}: {}", failed.reason),
                None => format!(
                    "version {version} (installation {serial}) failed its trial: {}",
                    failed.reason
                ),
            }
        });
        status.warnings.extend(failed);
        status.warnings.extend(shown.problems.iter().cloned());
        status.warnings.extend(shown.warnings.iter().cloned());
    }

    /// The installs.
    ///
    /// # Errors
    /// What stands in the way of reading them.
    pub fn versions(&self) -> Result<Vec<InstalledVersion>, ApiError> {
        match &self.lock().versions {
            Some(Ok(versions)) => Ok(versions.clone()),
            Some(Err(problem)) => Err(ApiError::unavailable(problem.clone())),
            None => Err(ApiError::unavailable("the installs are being read")
                .with_help("try again in a few seconds")),
        }
    }

    /// Whether what runs is no trial, or one that was decided.
    pub fn is_settled(&self) -> bool {
        self.lock().settled
    }

    /// Why nothing can be installed although no trial is about to be decided.
    pub(crate) fn unread(&self) -> Option<String> {
        self.lock().unread.clone()
    }

    pub(crate) fn set_unread(&self, unread: Option<String>) {
        self.lock().unread = unread;
    }

    /// The host is to go back to another install: nothing is to be written over that.
    pub(super) fn leave(&self) {
        self.lock().settled = false;
    }

    /// What runs is no trial, or its trial was decided.
    pub(crate) fn settle(&self) {
        self.lock().settled = true;
    }

    /// The install that failed, if one did.
    pub(crate) fn failed(&self) -> Option<FailedUpdate> {
        self.lock().failed.clone()
    }

    pub(super) fn set_failed(&self, failed: Option<FailedUpdate>) {
        self.lock().failed = failed;
    }

    pub(super) fn set_trial(&self, trial: Option<TrialStatus>) {
        self.lock().trial = trial;
    }

    pub(super) fn set_notice(&self, notice: String) {
        tracing::warn!("{notice}");
        self.lock().notice = Some(notice);
    }

    pub(super) fn set_problems(&self, problems: Vec<String>) {
        self.lock().problems = problems;
    }

    pub(super) fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        let mut shown = self.lock();
        if shown.warnings.len() < WARNINGS_MAX && !shown.warnings.contains(&warning) {
            shown.warnings.push(warning);
        }
    }

    /// The installs cannot be told, for this reason.
    pub(super) fn list_none(&self, problem: &str) {
        self.lock().versions = Some(Err(problem.to_owned()));
    }

    /// The installs are these.
    pub(super) fn list(
        &self,
        files: &[Installed],
        running: &Running,
        record: Option<&Record>,
        slot: Slot,
    ) {
        let versions = versions(files, running, record, slot);
        self.lock().versions = Some(Ok(versions));
    }
}

/// The installs by their files, the newest first. Files of others are left out.
fn versions(
    files: &[Installed],
    running: &Running,
    record: Option<&Record>,
    slot: Slot,
) -> Vec<InstalledVersion> {
    let other = slot.other();
    let serial = running.serial(record);
    let one = |file: &Installed| {
        let entry = file.entry()?;
        let ours = file.root.as_deref() == Some(running.root.as_str());
        let on_record = record
            .filter(|record| {
                record.serial == entry.serial && file.root.as_ref() == Some(&record.root)
            })
            .map(|record| record.outcome);
        let state = match (&file.root, on_record, entry.tries) {
            (None, _, _) => VersionState::Broken,
            (Some(_), _, Some(tries)) if tries.left == 0 => VersionState::Failed,
            (Some(_), Some(Outcome::Failed), _) => VersionState::Failed,
            (Some(_), Some(Outcome::Blessed), _) => VersionState::Good,
            (Some(_), Some(Outcome::Trying), _) | (Some(_), None, Some(_)) => VersionState::Trial,
            (Some(_), None, None) => VersionState::Good,
        };
        let on_trial = state == VersionState::Trial;
        Some(InstalledVersion {
            serial: entry.serial.into(),
            running: match serial {
                Some(serial) => serial == entry.serial && ours,
                None => ours,
            },
            version: entry.version,
            slot: file.root.as_ref().map(|_| {
                let slot = if ours { slot } else { other };
                slot.letter().to_string()
            }),
            state,
            tries_left: entry.tries.map(|tries| tries.left).filter(|_| on_trial),
            file: file.name.clone(),
        })
    };
    let mut versions: Vec<InstalledVersion> = files.iter().filter_map(one).collect();
    versions.sort_by(|a, b| b.serial.cmp(&a.serial).then_with(|| a.file.cmp(&b.file)));
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, root: Option<&str>) -> Installed {
        Installed {
            name: name.to_owned(),
            root: root.map(str::to_owned),
        }
    }

    #[test]
    fn installs_are_told_with_their_state() {
        let files = [
            file("ORLOP_~1.EFI", Some("a")),
            file("orlop_1_1.0.efi", Some("a")),
            file("orlop_2_2.0+2-1.efi", Some("b")),
            file("orlop_3_2.1+0-3.efi", Some("b")),
            file("orlop_4_2.2.efi", None),
            file("windows.efi", None),
        ];
        let running = Running {
            entry: Some("orlop_2_2.0+3.efi".to_owned()),
            version: "2.0".to_owned(),
            root: "b".to_owned(),
        };
        let told = |record: Option<&Record>| {
            let all = versions(&files, &running, record, Slot::B);
            let words = all.iter().map(|v| {
                let (slot, left) = (v.slot.as_deref().unwrap_or("-"), v.tries_left);
                let runs = if v.running { "runs" } else { "" };
                format!("{} {slot} {} {left:?} {runs}", v.serial, v.state.as_str())
            });
            words.collect::<Vec<_>>()
        };
        let rest = ["4 - broken None ", "3 b failed None "];
        let old = "1 a good None ";
        let trial = "2 b on trial Some(2) runs";
        assert_eq!(told(None), [rest[0], rest[1], trial, old]);
        let record = Record {
            serial: 2,
            version: "2.0".to_owned(),
            root: "b".to_owned(),
            outcome: Outcome::Blessed,
        };
        let good = "2 b good None runs";
        assert_eq!(told(Some(&record)), [rest[0], rest[1], good, old]);
    }

    #[test]
    fn a_failed_trial_is_a_warning() {
        let trial = Trial::default();
        assert!(trial.versions().is_err());
        trial.set_failed(Some(FailedUpdate {
            version: "2.0".to_owned(),
            serial: 2,
            reason: "web: unhealthy".to_owned(),
            ..FailedUpdate::default()
        }));
        let mut status = HostStatus::default();
        trial.tell(&mut status);
        assert_eq!(
            status.warnings,
            ["version 2.0 (installation 2) failed its trial: web: unhealthy"]
        );
        trial.set_notice("it stays".to_owned());
        let mut status = HostStatus::default();
        trial.tell(&mut status);
        assert_eq!(status.warnings, ["it stays: web: unhealthy"]);
    }
}
