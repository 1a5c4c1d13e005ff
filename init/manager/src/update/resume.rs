//! Going on with an update that the manager before this one, or the boot before this one, had begun.

use std::sync::Arc;
use std::time::Duration;

use orlop_bundle::Head;
use orlop_control::types::UpdatePhase;
use orlop_slot::trial::{Installed, Outcome, Record, Running, waiting};

use super::pending::{BEGUN_MAX, Pending, REBOOTS_MAX};
use super::{Updater, aside, shown};

/// The pause before it is looked again whether the trial is decided.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// Whether what is on record is to be gone on with.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// It is installed, and was never started.
    Waits,
    /// It was installed and started; what came of it is the trial's.
    Installed,
    /// It was begun too often.
    TooOften,
}

impl Updater {
    /// Goes on with what is on record, once no trial is under way. Until then it is shown as an update
    /// that begins.
    pub(super) async fn resume(&self) {
        match self.on_record().await {
            Ok(None) => return,
            Ok(Some((pending, head))) => {
                let version = &head.manifest().version;
                self.0.progress.begin(version, &shown(&pending.origin));
            }
            Err(_) => {}
        }
        while !self.0.host.trial.is_settled() {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        let _turn = self.0.begins.lock().await;
        if self.current().is_some() {
            // Somebody was faster, and what is on record is that.
            return;
        }
        let outcome = match self.on_record().await {
            Ok(Some((pending, head))) => self.go_on(pending, head).await,
            Ok(None) => return,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = outcome {
            let failure = self.failure(&problem);
            self.forget(Some(&failure)).await;
            self.0.progress.failed(&failure);
        }
    }

    async fn on_record(&self) -> Result<Option<(Pending, Head)>, String> {
        let files = self.0.pending.clone();
        let known = aside(move || files.get()).await;
        known.map_err(|error| error.message)?
    }

    async fn go_on(&self, pending: Pending, head: Head) -> Result<(), String> {
        let (disks, running) = self.ready().map_err(|error| error.message)?.clone();
        let root = head.manifest().verity.root_hash.to_string();
        let listing = disks.esp.list_once_there().await;
        let listing =
            listing.map_err(|error| format!("the boot partition cannot be read: {error}"))?;
        let files = listing.files;
        let record = disks.records.trial().unwrap_or_default();
        match judge(&root, &running, record.as_ref(), &files, pending.begun) {
            Verdict::Installed => {
                self.0.progress.none();
                self.forget(None).await;
                return Ok(());
            }
            Verdict::Waits => {
                self.boot(pending).await;
                return Ok(());
            }
            Verdict::TooOften => {
                let begun = pending.begun;
                return Err(format!(
                    "it was begun {begun} times and never came to an end"
                ));
            }
            Verdict::GoOn => {}
        }
        // The state partition is not what the root is: it is judged again.
        let trusted = self.judge(head, pending.allow_downgrade);
        let trusted = trusted.map_err(|error| error.message)?;
        let pending = pending.once_more();
        self.again(&pending).await?;
        let target = self.open(Arc::new(trusted.into_head())).await;
        let gone = target.and_then(|target| self.go(pending, target));
        gone.map_err(|error| error.message)
    }

    async fn again(&self, pending: &Pending) -> Result<(), String> {
        let (files, pending) = (self.0.pending.clone(), pending.clone());
        let again = aside(move || files.again(&pending)).await;
        let again = again.map_err(|error| error.message)?;
        again.map_err(|error| format!("the update cannot be put on record: {error}"))
    }

    /// What was asked for is installed but for the boot, and the manager that was to reboot is gone.
    async fn boot(&self, pending: Pending) {
        let reboots = pending.reboots;
        let left_to_you = match pending.no_reboot {
            true => None,
            false if reboots >= REBOOTS_MAX => Some(format!(
                "the host was rebooted into it {reboots} times and came up with what runs; the next \
                 reboot is left to you"
            )),
            false => {
                // Counted first, or it might be without end.
                if let Err(problem) = self.again(&pending.rebooted()).await {
                    self.0.progress.phase(UpdatePhase::Installed);
                    let remark = format!("{problem}; the reboot is left to you");
                    // The next manager may be able to.
                    return self.0.progress.remark(remark);
                }
                return self.reboot().await;
            }
        };
        self.0.progress.phase(UpdatePhase::Installed);
        if let Some(remark) = left_to_you {
            self.0.progress.remark(remark);
        }
        self.forget(None).await;
    }
}

/// Whether an update to the root `root` is to go on.
fn judge(
    root: &str,
    running: &Running,
    record: Option<&Record>,
    files: &[Installed],
    begun: u32,
) -> Verdict {
    let on_record = record.filter(|record| record.root == root);
    // Under its own name: under another one, that power tore, it would never be started.
    let is_entry = files.iter().any(|file| {
        let serial = file.entry().map(|entry| entry.serial);
        file.root.as_deref() == Some(root) && serial == on_record.map(|record| record.serial)
    });
    let waits = running
        .serial(record)
        .and_then(|serial| waiting(serial, files))
        .is_some_and(|entry| on_record.is_some_and(|record| record.serial == entry.serial));
    let installed = match on_record.map(|record| record.outcome) {
        Some(Outcome::Trying) if is_entry && waits => return Verdict::Waits,
        // Power went before it had its name, unless it has one.
        Some(Outcome::Trying) => is_entry,
        Some(Outcome::Blessed | Outcome::Failed) => true,
        None => false,
    };
    match begun {
        _ if installed || running.root == root => Verdict::Installed,
        BEGUN_MAX.. => Verdict::TooOften,
        _ => Verdict::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_installed_is_not_begun_again() {
        let running = |root: &str| Running {
            entry: Some("orlop_1_1.efi".to_owned()),
            version: "1".to_owned(),
            root: root.to_owned(),
        };
        let record = |outcome| Record {
            serial: 2,
            version: "2".to_owned(),
            root: "new".to_owned(),
            outcome,
        };
        let files = |name: &str| {
            vec![Installed {
                name: name.to_owned(),
                root: Some("new".to_owned()),
            }]
        };
        let judge = |running: &Running, record: Option<Record>, files: &[Installed], begun| {
            judge("new", running, record.as_ref(), files, begun)
        };
        let old = running("old");
        let entry = files("orlop_2_2.0+3.efi");
        let trying = || Some(record(Outcome::Trying));
        assert_eq!(judge(&old, None, &[], 0), Verdict::GoOn);
        assert_eq!(judge(&old, trying(), &[], 7), Verdict::GoOn);
        assert_eq!(judge(&old, trying(), &[], 8), Verdict::TooOften);
        assert_eq!(judge(&old, trying(), &entry, 8), Verdict::Waits);
        // It was tried, and did not come up, or is about to be tried again: it is not for us to reboot.
        for tried in [
            "orlop_2_2.0+0-3.efi",
            "orlop_2_2.0+2-1.efi",
            "orlop_2_2.0+0.efi",
        ] {
            assert_eq!(judge(&old, trying(), &files(tried), 0), Verdict::Installed);
        }
        // Not by a boot loader: a reboot would start the same.
        let bare = Running {
            entry: None,
            ..running("old")
        };
        assert_eq!(judge(&bare, trying(), &entry, 0), Verdict::Installed);
        let torn = files("ORLOP_~1.EFI");
        assert_eq!(judge(&old, trying(), &torn, 0), Verdict::GoOn);
        // Tried and given up by the boot loader, or by itself.
        let failed = || Some(record(Outcome::Failed));
        assert_eq!(judge(&old, failed(), &[], 0), Verdict::Installed);
        assert_eq!(judge(&old, failed(), &entry, 0), Verdict::Installed);
        assert_eq!(judge(&running("new"), None, &[], 0), Verdict::Installed);
        // The same root again, as another install.
        let new = running("new");
        assert_eq!(judge(&new, trying(), &entry, 0), Verdict::Waits);
        // And the install itself, whatever came of its trial.
        let tried = "orlop_2_2.0+2-1.efi";
        let new = Running {
            entry: Some(tried.to_owned()),
            ..new
        };
        assert_eq!(judge(&new, trying(), &files(tried), 0), Verdict::Installed);
        // An entry of the same version from before, which this update replaces.
        assert_eq!(judge(&old, None, &entry, 0), Verdict::GoOn);
    }
}
